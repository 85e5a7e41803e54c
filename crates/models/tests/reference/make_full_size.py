"""Stable Diffusion 1.5 at its real size with random f16 weights: 2.1 GB that show what loading and running such a model takes, not what it draws.

usage: make_full_size.py FOLDER. Writes FOLDER in the layout of the published repository, without a safety checker. The test `full_size` of darkroom-e2e takes it from DARKROOM_FULL_SIZE_REPOSITORY."""
import json, os, sys
import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel
from common import clip_words

OUT = sys.argv[1]
torch.set_default_dtype(torch.float16)
torch.manual_seed(1)


def write(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(value if isinstance(value, str) else json.dumps(value, indent=1))


def save(model, component, stem):
    os.makedirs(f"{OUT}/{component}", exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}, f"{OUT}/{component}/{stem}.safetensors")
    config = model.config.to_dict() if hasattr(model.config, "to_dict") else dict(model.config)
    write(f"{OUT}/{component}/config.json", json.dumps({k: v for k, v in config.items() if k != "_name_or_path"}, indent=1, default=str))


def tokenizer():
    text = open(f"{os.path.dirname(os.path.abspath(__file__))}/clip/merges.txt").read()
    write(f"{OUT}/tokenizer/merges.txt", text)
    write(f"{OUT}/tokenizer/vocab.json", {word: number for number, word in enumerate(clip_words(text.splitlines()[1:]))})
    special = dict(bos_token="<|startoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>", pad_token="<|endoftext|>")
    write(f"{OUT}/tokenizer/tokenizer_config.json", dict(tokenizer_class="CLIPTokenizer", model_max_length=77, **special))


save(UNet2DConditionModel(sample_size=64, cross_attention_dim=768), "unet", "diffusion_pytorch_model")
save(AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4), "vae", "diffusion_pytorch_model")
save(CLIPTextModel(CLIPTextConfig(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
    projection_dim=768, bos_token_id=49406, eos_token_id=49407, pad_token_id=1)), "text_encoder", "model")
tokenizer()
PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1).save_pretrained(f"{OUT}/scheduler")
write(f"{OUT}/model_index.json", dict(_class_name="StableDiffusionPipeline", _diffusers_version="0.42.1", safety_checker=[None, None], feature_extractor=[None, None],
    scheduler=["diffusers", "PNDMScheduler"], text_encoder=["transformers", "CLIPTextModel"], tokenizer=["transformers", "CLIPTokenizer"],
    unet=["diffusers", "UNet2DConditionModel"], vae=["diffusers", "AutoencoderKL"]))
