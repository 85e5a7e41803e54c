"""Models of full size with random f32 weights, and inputs for them: what they take to run, not what they draw.

usage: models.py MODELS NAME, from the root of the repository. Writes the folder MODELS/NAME, where NAME is
  sd15   Stable Diffusion 1.5 (4.3 GB)
  sdxl   the U-Net of Stable Diffusion XL (10.3 GB)
  blip   BLIP-large for captions (1.9 GB)
sd15 and sdxl have a folder `small` in them: a pipeline that the large component fits into, and of which everything else is tiny."""
import json, os, shutil, sys
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import BlipConfig, BlipForConditionalGeneration, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

FIXTURES = "crates/models/tests/reference"
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
TOKENS = 77


def write(path, value):
    with open(path, "w") as file:
        json.dump(value, file, indent=1)


def text_encoder(out, cls=CLIPTextModel, **config):
    model = cls(CLIPTextConfig(**config))
    os.makedirs(out)
    # As published files name them.
    state = {k if k.startswith("text_") else f"text_model.{k}": v.contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    save_file(state, f"{out}/model.safetensors")
    write(f"{out}/config.json", {k: v for k, v in model.config.to_dict().items() if k != "dtype"})


def small_text_encoder(out, width, cls=CLIPTextModel, **more):
    text_encoder(out, cls, vocab_size=713, hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=8, bos_token_id=711, eos_token_id=712, pad_token_id=712, **more)


def vae(out, channels, layers):
    AutoencoderKL(block_out_channels=channels, layers_per_block=layers, latent_channels=4, sample_size=512,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4).save_pretrained(out)


def small_unet(out):
    UNet2DConditionModel(sample_size=64, cross_attention_dim=768, block_out_channels=(32, 32), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")).save_pretrained(out)


def pipeline(out, name, scheduler, encoders):
    """What a pipeline has beside its models."""
    scheduler.save_pretrained(f"{out}/scheduler")
    index = dict(_class_name=name, _diffusers_version="0.42.1", scheduler=["diffusers", type(scheduler).__name__], unet=["diffusers", "UNet2DConditionModel"], vae=["diffusers", "AutoencoderKL"])
    for encoder, (tokenizer, cls, files) in encoders.items():
        shutil.copytree(f"{FIXTURES}/{files}", f"{out}/{tokenizer}")
        index |= {encoder: ["transformers", cls], tokenizer: ["transformers", "CLIPTokenizer"]}
    write(f"{out}/model_index.json", index)


def inputs(out, width, pooled=None):
    tensors = dict(latents=torch.randn(1, 4, 64, 64), states=torch.randn(2, TOKENS, width))
    if pooled:
        tensors["pooled"] = torch.randn(2, pooled)
    save_file(tensors, f"{out}/inputs.safetensors")


def sd15(out):
    UNet2DConditionModel(sample_size=64, cross_attention_dim=768).save_pretrained(f"{out}/unet")
    vae(f"{out}/vae", (128, 256, 512, 512), 2)
    text_encoder(f"{out}/text_encoder", vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, bos_token_id=49406, eos_token_id=49407, pad_token_id=49407)
    small_text_encoder(f"{out}/small/text_encoder", 768)
    vae(f"{out}/small/vae", (32,) * 4, 1)
    small_unet(f"{out}/small/unet")
    for folder in (out, f"{out}/small"):
        pipeline(folder, "StableDiffusionPipeline", PNDMScheduler(**BETAS, skip_prk_steps=True, set_alpha_to_one=False), dict(text_encoder=("tokenizer", "CLIPTextModel", "sd15/tokenizer")))
    inputs(out, 768)


def sdxl(out):
    UNet2DConditionModel(sample_size=128, block_out_channels=(320, 640, 1280), layers_per_block=2, cross_attention_dim=2048,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 2, 10], attention_head_dim=[5, 10, 20], use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816).save_pretrained(f"{out}/unet", max_shard_size="2GB")
    small_text_encoder(f"{out}/small/text_encoder", 768)
    small_text_encoder(f"{out}/small/text_encoder_2", 1280, CLIPTextModelWithProjection, projection_dim=1280)
    vae(f"{out}/small/vae", (32,) * 4, 1)
    pipeline(f"{out}/small", "StableDiffusionXLPipeline", EulerDiscreteScheduler(**BETAS), dict(
        text_encoder=("tokenizer", "CLIPTextModel", "sdxl/tokenizer"), text_encoder_2=("tokenizer_2", "CLIPTextModelWithProjection", "sdxl/tokenizer_2")))
    inputs(out, 2048, 1280)


def blip(out):
    vision = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=384, patch_size=16, initializer_range=0.02)
    model = BlipForConditionalGeneration(BlipConfig(vision_config=vision, text_config=dict(num_attention_heads=12))).eval()
    # The end never comes first, on either side.
    with torch.no_grad():
        model.text_decoder.cls.predictions.bias[model.config.text_config.sep_token_id] = -1e4
    model.save_pretrained(out)
    write(f"{out}/generation_config.json", dict(max_new_tokens=20))
    write(f"{out}/preprocessor_config.json", dict(do_normalize=True, do_resize=True, image_mean=[0.5] * 3, image_std=[0.25] * 3, image_processor_type="BlipImageProcessor", size=dict(height=384, width=384)))
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(f"{FIXTURES}/blip_large/{name}", f"{out}/{name}")
    save_file(dict(pixels=torch.randn(1, 3, 384, 384)), f"{out}/inputs.safetensors")


MODELS, NAME = sys.argv[1:]
torch.manual_seed(1)
part = f"{MODELS}/{NAME}.part"
shutil.rmtree(part, ignore_errors=True)
os.makedirs(part)
with torch.no_grad():
    dict(sd15=sd15, sdxl=sdxl, blip=blip)[NAME](part)
os.sync()
os.rename(part, f"{MODELS}/{NAME}")
