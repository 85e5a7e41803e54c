"""What diffusers 0.42 draws in f32 with each scheduler on the tiny U-Net models.

usage: make_walks.py MODELS REFERENCE, as make_lora.py. Writes REFERENCE/walks.safetensors: `start` and `noise` (one for each step of a
stochastic scheduler), and pictures named FAMILY.SCHEDULER.STEPS, with the few-step models' own schedulers as FAMILY.turbo.STEPS."""
import sys
import torch
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, LCMScheduler,
    PNDMScheduler, StableDiffusionXLPipeline, UniPCMultistepScheduler)
from diffusers.schedulers import scheduling_euler_ancestral_discrete, scheduling_lcm
from safetensors.torch import save_file
from common import unet_pipeline

MODELS, REFERENCE = sys.argv[1], sys.argv[2]
PROMPTS = dict(prompt="a large red circle", negative_prompt="a blue star")
NAMED = dict(ddim=(DDIMScheduler, {}), pndm=(PNDMScheduler, {}), euler=(EulerDiscreteScheduler, {}), euler_ancestral=(EulerAncestralDiscreteScheduler, {}),
    dpmpp_2m=(DPMSolverMultistepScheduler, {}), dpmpp_2m_karras=(DPMSolverMultistepScheduler, dict(use_karras_sigmas=True)),
    lcm=(LCMScheduler, {}), unipc=(UniPCMultistepScheduler, {}))
# The scheduler of SD-Turbo's and SDXL-Turbo's repository.
TURBO = dict(sd21=EulerDiscreteScheduler, sdxl=EulerAncestralDiscreteScheduler)
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(5)
START, NOISE = torch.randn(1, 4, 3, 4, generator=generator), torch.randn(20, 4, 3, 4, generator=generator)


def recorded_noise():
    """In place of fresh noise, in the order it is asked for."""
    drawn = iter(NOISE)
    take = lambda shape, **_: next(drawn)[None]
    scheduling_euler_ancestral_discrete.randn_tensor = scheduling_lcm.randn_tensor = take


def with_scheduler(pipe, scheduler):
    """Made anew, since the pipeline corrects the settings of a scheduler only when it is made."""
    more = dict(add_watermarker=False) if isinstance(pipe, StableDiffusionXLPipeline) else dict(requires_safety_checker=False)
    pipe = type(pipe)(**pipe.components | dict(scheduler=scheduler), **more)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, steps, **kwargs):
    recorded_noise()
    latents = pipe(width=32, height=24, num_inference_steps=steps, latents=START.clone(), output_type="latent", **kwargs).images
    with torch.no_grad():
        return pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample.contiguous()


recorded = dict(start=START, noise=NOISE)
for family in ("sd15", "sd21", "sdxl"):
    pipe = unet_pipeline(MODELS, f"{REFERENCE}/{family}")
    own = pipe.scheduler.config
    for name, (kind, options) in NAMED.items():
        pipe = with_scheduler(pipe, kind.from_config(own, **options))
        for steps in (4, 20) if name == "lcm" else (20,):
            recorded[f"{family}.{name}.{steps}"] = draw(pipe, steps, guidance_scale=3.0, **PROMPTS)
    if kind := TURBO.get(family):
        pipe = with_scheduler(pipe, kind.from_config(own, timestep_spacing="trailing", prediction_type="epsilon"))
        for steps in (1, 4):
            recorded[f"{family}.turbo.{steps}"] = draw(pipe, steps, guidance_scale=0.0, prompt=PROMPTS["prompt"])
save_file(recorded, f"{REFERENCE}/walks.safetensors")
print({k: round(v.abs().max().item(), 3) for k, v in recorded.items()})
