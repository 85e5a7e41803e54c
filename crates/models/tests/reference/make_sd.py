"""Tiny models with random weights in layouts unlike the bundled ones, and what diffusers 0.42 and transformers 5 make of them in f32.

usage: make_sd.py MODELS OUT, where MODELS is the repository's models/ (for its tokenizers). Writes OUT/sd15 (as Stable
Diffusion 1.5: PNDM, epsilon, two layers a block, convolutions as projections) and OUT/sd21 (as 2.1: v-prediction, linear projections,
heads by block, another activation), each with reference.safetensors."""
import json, os, shutil, sys
import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast
from common import randomise

MODELS, OUT = sys.argv[1], sys.argv[2]
SPECIAL = dict(bos_token="<|startoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>", pad_token="<|endoftext|>")


def save(model, path, stem, rename=lambda k: k):
    os.makedirs(path, exist_ok=True)
    save_file({rename(k): v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}, f"{path}/{stem}.safetensors")
    config = {k: v for k, v in (model.config.to_dict() if hasattr(model.config, "to_dict") else dict(model.config)).items() if k != "_name_or_path"}
    json.dump(config, open(f"{path}/config.json", "w"), indent=1, sort_keys=True, default=str)


def stable_diffusion(name, unet, act, scheduler, seed):
    torch.manual_seed(seed)
    out = f"{OUT}/{name}"
    unet = randomise(UNet2DConditionModel(sample_size=16, in_channels=4, out_channels=4, norm_num_groups=8, cross_attention_dim=24,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, **dict(layers_per_block=2, block_out_channels=(16, 32, 32, 32)) | unet))
    vae = randomise(AutoencoderKL(block_out_channels=(8, 8, 16, 16), layers_per_block=2, norm_num_groups=4, latent_channels=4, sample_size=128, scaling_factor=0.5,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4))
    text = randomise(CLIPTextModel(CLIPTextConfig(vocab_size=713, hidden_size=24, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2, hidden_act=act,
        bos_token_id=711, eos_token_id=712, pad_token_id=712)))
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{MODELS}/shapes-sd/tokenizer/tokenizer.json", model_max_length=77, **SPECIAL)
    pipe = StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 12, 9)
    latents = pipe("a large red circle", negative_prompt="a blue star", width=72, height=96, num_inference_steps=5, guidance_scale=3.0, latents=noise.clone(), output_type="latent").images
    with torch.no_grad():
        image = vae.decode(latents / vae.config.scaling_factor).sample
    save(unet, f"{out}/unet", "diffusion_pytorch_model")
    save(vae, f"{out}/vae", "diffusion_pytorch_model")
    save(text, f"{out}/text_encoder", "model", lambda k: k if k.startswith("text_model.") else "text_model." + k)
    scheduler.save_pretrained(f"{out}/scheduler")
    os.makedirs(f"{out}/tokenizer")
    for f in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(f"{MODELS}/shapes-sd/tokenizer/{f}", f"{out}/tokenizer/{f}")
    shutil.copy(f"{MODELS}/shapes-sd/model_index.json", f"{out}/model_index.json")
    save_file(dict(noise=noise, latents=latents.contiguous(), image=image.contiguous()), f"{out}/reference.safetensors")
    print(name, latents.abs().max().item(), image.abs().max().item())


if __name__ == "__main__":
    betas = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    stable_diffusion("sd15", dict(attention_head_dim=8), "quick_gelu", PNDMScheduler(skip_prk_steps=True, **betas), 15)
    stable_diffusion("sd21", dict(layers_per_block=1, block_out_channels=(16, 16, 24, 24), attention_head_dim=(2, 4, 8, 8), use_linear_projection=True, upcast_attention=True), "gelu", DDIMScheduler(prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False, **betas), 21)
