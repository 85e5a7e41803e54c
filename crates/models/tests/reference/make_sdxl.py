"""A tiny model with random weights in the layout of Stable Diffusion XL, and what diffusers 0.42 makes of it in f32.

usage: make_sdxl.py MODELS OUT, as make_sd.py. Writes OUT/sdxl (two text encoders of which the second pads with another token and
has a projection, a U-Net that is told sizes) with reference.safetensors, and OUT/sdxl/lightning_unet.safetensors, other weights for
its U-Net as they are published for few steps."""
import os, shutil
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerFast
from common import randomise
from make_sd import MODELS, OUT, SPECIAL, save
import json

PROMPTS = dict(prompt="a large red circle", prompt_2="a small green heart on a white background", negative_prompt="a blue star")
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def unet():
    return randomise(UNet2DConditionModel(sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(16, 24, 32), norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 1, 2], attention_head_dim=[2, 3, 8], use_linear_projection=True, cross_attention_dim=56,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 20))


def text(cls, act, hidden, **more):
    return randomise(cls(CLIPTextConfig(vocab_size=713, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=3, num_attention_heads=2, hidden_act=act,
        bos_token_id=711, eos_token_id=712, pad_token_id=712, **more)))


def tokenizer(pad):
    return PreTrainedTokenizerFast(tokenizer_file=f"{MODELS}/shapes-sd/tokenizer/tokenizer.json", model_max_length=77, **SPECIAL | dict(pad_token=pad))


def run(pipe, scheduler, noise, **kwargs):
    pipe.scheduler = scheduler
    height, width = noise.shape[2] * 8, noise.shape[3] * 8
    latents = pipe(width=width, height=height, latents=noise.clone(), output_type="latent", **kwargs).images
    with torch.no_grad():
        return dict(latents=latents.contiguous(), image=pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample.contiguous())


def main():
    torch.set_num_threads(1)
    torch.manual_seed(31)
    out = f"{OUT}/sdxl"
    shutil.rmtree(out, ignore_errors=True)
    vae = randomise(AutoencoderKL(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=128, scaling_factor=0.13025,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4))
    first, second = text(CLIPTextModel, "quick_gelu", 24), text(CLIPTextModelWithProjection, "gelu", 32, projection_dim=20)
    base = EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading")
    pipe = StableDiffusionXLPipeline(vae=vae, text_encoder=first, text_encoder_2=second, tokenizer=tokenizer("<|endoftext|>"), tokenizer_2=tokenizer("!"), unet=unet(), scheduler=base, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 12, 9)
    recorded = dict(noise=noise)
    for name, prompts in [("two", PROMPTS), ("one", dict(prompt=PROMPTS["prompt"])), ("empty", dict(prompt=PROMPTS["prompt"], negative_prompt=""))]:
        shown, avoided, pooled, avoided_pooled = pipe.encode_prompt(device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True, **prompts)
        recorded |= {f"{name}.states": torch.cat([avoided, shown]), f"{name}.pooled": torch.cat([avoided_pooled, pooled])}
    with torch.no_grad():
        sizes = torch.tensor([[96.0, 72, 0, 0, 96, 72]] * 2)
        for t in (999, 21):
            recorded[f"unet.{t}"] = pipe.unet(torch.cat([noise] * 2), t, encoder_hidden_states=recorded["two.states"],
                added_cond_kwargs=dict(text_embeds=recorded["two.pooled"], time_ids=sizes)).sample
    ways = {"base": (base, dict(PROMPTS, num_inference_steps=5, guidance_scale=5.0)), "zeros": (base, dict(prompt=PROMPTS["prompt"], num_inference_steps=4, guidance_scale=3.0))}
    for name, (scheduler, kwargs) in ways.items():
        recorded |= {f"{name}.{k}": v for k, v in run(pipe, scheduler, noise, **kwargs).items()}
    base_unet, pipe.unet = pipe.unet, unet()
    trailing = EulerDiscreteScheduler.from_config(base.config, timestep_spacing="trailing")
    recorded |= {f"lightning.{k}": v for k, v in run(pipe, trailing, noise, prompt=PROMPTS["prompt"], num_inference_steps=4, guidance_scale=0.0).items()}

    save(base_unet, f"{out}/unet", "diffusion_pytorch_model")
    save_file({k: v.half().contiguous() for k, v in pipe.unet.state_dict().items()}, f"{out}/lightning_unet.safetensors")
    save(vae, f"{out}/vae", "diffusion_pytorch_model")
    for component, model in [("text_encoder", first), ("text_encoder_2", second)]:
        save(model, f"{out}/{component}", "model", lambda k: k if k.startswith("text_") else "text_model." + k)
    base.save_pretrained(f"{out}/scheduler")
    for component, pad in [("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")]:
        os.makedirs(f"{out}/{component}")
        for f in ("vocab.json", "merges.txt"):
            shutil.copy(f"{MODELS}/shapes-sd/tokenizer/{f}", f"{out}/{component}/{f}")
        config = json.load(open(f"{MODELS}/shapes-sd/tokenizer/tokenizer_config.json")) | dict(pad_token=pad)
        json.dump(config, open(f"{out}/{component}/tokenizer_config.json", "w"), indent=1)
    index = {k: [type(v).__module__.split(".")[0], type(v).__name__] for k, v in pipe.components.items() if v is not None}
    index |= {"tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"], "_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True}
    json.dump(index, open(f"{out}/model_index.json", "w"), indent=1)
    save_file({k: v.detach().contiguous() for k, v in recorded.items()}, f"{out}/reference.safetensors")
    print({k: round(v.abs().max().item(), 3) for k, v in recorded.items()})


main()
