"""What diffusers 0.42 makes of the VAE of the tiny model sd15 (see make_sd.py) in both directions, in f32: vae.safetensors.

usage: make_vae.py OUT, where OUT/sd15 is the model."""
import sys
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

OUT = sys.argv[1]
torch.set_num_threads(1)
torch.manual_seed(41)
vae = AutoencoderKL.from_pretrained(f"{OUT}/sd15/vae", torch_dtype=torch.float32).eval()
pictures, latents = torch.rand(2, 3, 48, 40) * 2 - 1, torch.randn(1, 4, 19, 16)
with torch.no_grad():
    encoded = vae.encode(pictures).latent_dist.mode() * vae.config.scaling_factor
    vae.enable_tiling()
    tiled = vae.decode(latents / vae.config.scaling_factor).sample
save_file(dict(pictures=pictures, encoded=encoded.contiguous(), latents=latents, tiled=tiled.contiguous()), f"{OUT}/vae.safetensors")
print(encoded.abs().max(), tiled.abs().max(), vae.tile_latent_min_size)
