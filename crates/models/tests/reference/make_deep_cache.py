"""What the authors' package makes of DeepCache (Ma et al. 2024) with diffusers 0.42 in f32 on the tiny U-Net models.

usage: make_deep_cache.py MODELS REFERENCE, as make_lora.py. Writes REFERENCE/deep_cache.safetensors: pictures named FAMILY.INTERVAL, of
the noise `start` of walks.safetensors in 20 steps of DDIM, with the package's branch 0."""
import sys
import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from common import unet_pipeline

MODELS, REFERENCE = sys.argv[1], sys.argv[2]
torch.set_num_threads(1)
start = load_file(f"{REFERENCE}/walks.safetensors")["start"]
recorded = {}
for family in ("sd15", "sd21", "sdxl"):
    pipe = unet_pipeline(MODELS, f"{REFERENCE}/{family}")
    more = dict(add_watermarker=False) if isinstance(pipe, StableDiffusionXLPipeline) else dict(requires_safety_checker=False)
    # Made anew, since the pipeline corrects the settings of a scheduler only when it is made.
    pipe = type(pipe)(**pipe.components | dict(scheduler=DDIMScheduler.from_config(pipe.scheduler.config)), **more)
    pipe.set_progress_bar_config(disable=True)
    for interval in (2, 3, 5):
        helper = DeepCacheSDHelper(pipe=pipe)
        helper.set_params(cache_interval=interval, cache_branch_id=0)
        helper.enable()
        latents = pipe("a large red circle", negative_prompt="a blue star", guidance_scale=3.0, width=32, height=24,
            num_inference_steps=20, latents=start.clone(), output_type="latent").images
        helper.disable()
        with torch.no_grad():
            recorded[f"{family}.{interval}"] = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample.contiguous()
save_file(recorded, f"{REFERENCE}/deep_cache.safetensors")
print({k: round(v.abs().max().item(), 3) for k, v in recorded.items()})
