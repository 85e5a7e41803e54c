"""Walks of diffusers 0.42 schedulers with a toy model: schedulers.json. usage: make_schedulers.py > schedulers.json"""
import json
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler

START = [0.9, -1.4, 0.2, 2.0]
BETAS = dict(beta_start=0.00085, beta_end=0.012)


def walk(cls, steps, **config):
    """The sample after each step, where the model's output is tanh(0.7 x + t / 1500 - 0.4)."""
    scheduler = cls(**config)
    scheduler.set_timesteps(steps)
    sample = torch.tensor(START) * scheduler.init_noise_sigma
    samples = []
    for t in scheduler.timesteps:
        output = torch.tanh(0.7 * scheduler.scale_model_input(sample, t) + float(t) / 1500 - 0.4)
        sample = scheduler.step(output, t, sample).prev_sample
        samples.append([float(f"{float(x):.8g}") for x in sample])
    return dict(config={"_class_name": cls.__name__, **config}, steps=steps, timesteps=[float(t) for t in scheduler.timesteps], samples=samples)


walks = []
for cls, extra in [(DDIMScheduler, dict(clip_sample=False)), (EulerDiscreteScheduler, {}), (PNDMScheduler, dict(skip_prk_steps=True))]:
    for spacing in ["leading", "linspace", "trailing"]:
        for prediction in ["epsilon", "v_prediction"] + (["sample"] if cls is not PNDMScheduler else []):
            for schedule in ["scaled_linear", "linear", "squaredcos_cap_v2"] if prediction == "epsilon" else ["scaled_linear"]:
                config = dict(BETAS, beta_schedule=schedule, prediction_type=prediction, timestep_spacing=spacing, steps_offset=1, **extra)
                walks.append(walk(cls, 7, **config))
# Defaults, clipping, the other end of the schedule, a single step.
walks += [walk(DDIMScheduler, 6), walk(DDIMScheduler, 6, set_alpha_to_one=False), walk(EulerDiscreteScheduler, 6), walk(PNDMScheduler, 6, skip_prk_steps=True, set_alpha_to_one=True)]
walks += [walk(cls, 1, skip_prk_steps=True) if cls is PNDMScheduler else walk(cls, 1, timestep_spacing="trailing") for cls in (DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler)]
print(json.dumps(walks).replace("}, {", "},\n{"))
