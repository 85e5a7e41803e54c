"""Walks of diffusers schedulers with a toy model: schedulers.json and schedulers.safetensors, next to this file.

usage: make_schedulers.py, with torch 2.15.0, diffusers 0.42.1, numpy 2.4.6, scipy 1.17.1, safetensors.

schedulers.json lists the cases. A case has the fields of its scheduler_config.json, the scheduler a request names instead of
it (or null), what the family's pipeline adds, and for each number of steps how often the model is called, or why the reference
makes no picture. The tensors follow one another in the order of the cases: `timesteps` (calls,) and `samples` (calls, 4), the
sample after each call. `start` is the noise at the start, `noise` (50, 4) what stochastic schedulers add after each step.
"""

import importlib
import json
import logging
import warnings
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from safetensors.torch import save_file

STEPS = [1, 4, 20, 28, 30, 50]
START = torch.tensor([0.9, -1.4, 0.2, 2.0])
NOISE = torch.randn(50, 4, generator=torch.Generator().manual_seed(4))
CLASSES = {
    "ddim": "DDIMScheduler", "pndm": "PNDMScheduler", "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler", "dpmpp_2m": "DPMSolverMultistepScheduler",
    "dpmpp_2m_karras": "DPMSolverMultistepScheduler", "lcm": "LCMScheduler", "unipc": "UniPCMultistepScheduler",
    "flow_match_euler": "FlowMatchEulerDiscreteScheduler",
}
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def make(case):
    name = CLASSES[case["named"]] if case["named"] else case["config"]["_class_name"]
    extra = dict(use_karras_sigmas=True) if case["named"] == "dpmpp_2m_karras" else {}
    return getattr(diffusers, name).from_config(dict(case["config"]), **extra)


def set_timesteps(scheduler, case, steps):
    """As the pipelines do: those of FLUX bring sigmas of their own."""
    arguments = {}
    if case["pipeline_sigmas"]:
        arguments["sigmas"] = np.linspace(1.0, 1 / steps, steps)
    if scheduler.config.get("use_dynamic_shifting"):
        c = scheduler.config
        arguments["mu"] = calculate_shift(case["image_tokens"], c.base_image_seq_len, c.max_image_seq_len, c.base_shift, c.max_shift)
    scheduler.set_timesteps(**arguments) if case["pipeline_sigmas"] else scheduler.set_timesteps(steps, **arguments)


def walk(case, steps):
    """The timesteps and the samples, where the model's output is tanh(0.7 x + t / 1500 - 0.4)."""
    scheduler = make(case)
    set_timesteps(scheduler, case, steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    call = 0
    importlib.import_module(type(scheduler).__module__).randn_tensor = lambda *_, **__: NOISE[call].reshape(1, 4, 1, 1).clone()
    sample = START.reshape(1, 4, 1, 1) * getattr(scheduler, "init_noise_sigma", 1.0)
    samples = []
    for call, t in enumerate(scheduler.timesteps):
        model_input = scheduler.scale_model_input(sample, t) if hasattr(scheduler, "scale_model_input") else sample
        output = torch.tanh(0.7 * model_input + float(t) / 1500 - 0.4)
        sample = scheduler.step(output, t, sample).prev_sample
        samples.append(sample.flatten())
    return scheduler.timesteps.float(), torch.stack(samples).float()


def case(algorithm, options, named=None, pipeline_sigmas=False, image_tokens=4096, **config):
    config = {"_class_name": CLASSES[algorithm], **config}
    return dict(config=config, named=named, pipeline_sigmas=pipeline_sigmas, image_tokens=image_tokens, options=options)


def discrete(algorithm, predictions, **extra):
    """Every spacing with every prediction type."""
    return [
        case(algorithm, f"{spacing}, {prediction}", timestep_spacing=spacing, prediction_type=prediction, **(BETAS | dict(steps_offset=1) | extra))
        for spacing in ["leading", "linspace", "trailing"] for prediction in predictions
    ]


def options(algorithm, *variants, **base):
    """One case for each variant: a dict of fields on top of the usual betas."""
    text = lambda v: ", ".join(f"{k} {str(x).lower()}" if not isinstance(x, list) or len(x) < 4 else k for k, x in v.items())
    return [case(algorithm, text(v), **(BETAS | dict(steps_offset=1) | base | v)) for v in variants]


THREE = ["epsilon", "v_prediction", "sample"]
TRAINED = [float(f"{b:.6g}") for b in np.linspace(0.001, 0.02, 100)]
COSINE = dict(beta_schedule="squaredcos_cap_v2")
SDXL = dict(clip_sample=False, interpolation_type="linear", num_train_timesteps=1000, prediction_type="epsilon", sample_max_value=1.0,
    set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, timestep_spacing="leading", trained_betas=None, use_karras_sigmas=False, **BETAS)
SD15 = dict(num_train_timesteps=1000, set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, trained_betas=None, clip_sample=False, **BETAS)
SD21 = SD15 | dict(prediction_type="v_prediction")
NAMES = ["ddim", "pndm", "euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_karras", "lcm", "unipc"]
ZERO_SNR = dict(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")
SPACED = ("leading", "linspace", "trailing")

CASES = [
    *discrete("ddim", THREE, clip_sample=False),
    *options("ddim", dict(clip_sample=True), dict(clip_sample_range=0.5), dict(clip_sample=False, set_alpha_to_one=False), dict(clip_sample=False, beta_schedule="linear"),
        dict(clip_sample=False, **COSINE), dict(clip_sample=False, **ZERO_SNR), dict(clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing"),
        dict(clip_sample=False, trained_betas=TRAINED, num_train_timesteps=100)),
    *discrete("pndm", THREE[:2], skip_prk_steps=True),
    *discrete("pndm", THREE[:2]),
    *options("pndm", dict(set_alpha_to_one=True, skip_prk_steps=True), dict(skip_prk_steps=True, **COSINE), dict(skip_prk_steps=False, set_alpha_to_one=True), dict(prediction_type="sample", skip_prk_steps=True)),
    *discrete("euler", THREE),
    *[c for s in SPACED for c in options("euler", dict(use_karras_sigmas=True, timestep_spacing=s))],
    *options("euler", dict(use_exponential_sigmas=True), dict(use_beta_sigmas=True), dict(interpolation_type="log_linear"), dict(interpolation_type="log_linear", use_karras_sigmas=True),
        dict(final_sigmas_type="sigma_min"), dict(sigma_min=0.1, sigma_max=10.0, use_karras_sigmas=True), dict(beta_schedule="linear"), COSINE, ZERO_SNR,
        ZERO_SNR | dict(prediction_type="epsilon"), dict(timestep_type="continuous", prediction_type="v_prediction", use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0, timestep_spacing="leading"),
        dict(timestep_type="continuous", prediction_type="v_prediction", interpolation_type="log_linear"), dict(trained_betas=TRAINED, num_train_timesteps=100)),
    *discrete("euler_ancestral", THREE[:2]),
    *options("euler_ancestral", dict(beta_schedule="linear"), COSINE, ZERO_SNR, dict(prediction_type="sample")),
    *discrete("dpmpp_2m", THREE),
    *[c for s in SPACED for c in options("dpmpp_2m", dict(use_karras_sigmas=True, timestep_spacing=s))],
    *options("dpmpp_2m", dict(use_exponential_sigmas=True), dict(use_beta_sigmas=True), dict(use_lu_lambdas=True), dict(solver_type="heun"), dict(solver_type="bh2"), dict(solver_order=1),
        dict(solver_order=3), dict(solver_order=3, use_karras_sigmas=True), dict(euler_at_final=True, final_sigmas_type="sigma_min"), dict(lower_order_final=False), dict(final_sigmas_type="sigma_min"),
        dict(final_sigmas_type="sigma_min", use_karras_sigmas=True), dict(final_sigmas_type="sigma_min", lower_order_final=False), dict(lambda_min_clipped=-5.1, timestep_spacing="linspace", **COSINE),
        dict(lambda_min_clipped=-5.1, timestep_spacing="trailing", **COSINE), dict(use_karras_sigmas=True, **COSINE), dict(use_lu_lambdas=True, **COSINE), dict(beta_schedule="linear"), ZERO_SNR,
        dict(algorithm_type="sde-dpmsolver++"), dict(algorithm_type="sde-dpmsolver++", use_karras_sigmas=True), dict(algorithm_type="sde-dpmsolver++", solver_type="heun"),
        dict(algorithm_type="sde-dpmsolver++", solver_order=3), dict(algorithm_type="deis"), dict(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
        dict(use_flow_sigmas=True, prediction_type="flow_prediction")),
    *discrete("lcm", THREE),
    *options("lcm", dict(clip_sample=True), dict(original_inference_steps=100, timestep_scaling=5.0), dict(original_inference_steps=30), dict(beta_schedule="linear"), dict(rescale_betas_zero_snr=True, prediction_type="v_prediction"),
        dict(rescale_betas_zero_snr=True)),
    *discrete("unipc", THREE),
    *[c for s in SPACED for c in options("unipc", dict(use_karras_sigmas=True, timestep_spacing=s))],
    *options("unipc", dict(use_exponential_sigmas=True), dict(use_beta_sigmas=True), dict(solver_type="bh1"), dict(solver_type="bh1", final_sigmas_type="sigma_min"), dict(solver_type="midpoint"),
        dict(solver_order=1), dict(solver_order=3), dict(solver_order=3, use_karras_sigmas=True), dict(solver_order=3, solver_type="bh1", final_sigmas_type="sigma_min"), dict(predict_x0=False), dict(predict_x0=False, final_sigmas_type="sigma_min"),
        dict(predict_x0=False, final_sigmas_type="sigma_min", prediction_type="v_prediction"), dict(predict_x0=False, final_sigmas_type="sigma_min", prediction_type="sample"),
        dict(disable_corrector=[0, 1]), dict(lower_order_final=False), dict(lower_order_final=False, final_sigmas_type="sigma_min"), dict(final_sigmas_type="sigma_min"), dict(final_sigmas_type="sigma_min", use_karras_sigmas=True),
        dict(sigma_min=0.1, sigma_max=10.0, use_karras_sigmas=True), COSINE, ZERO_SNR, dict(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
        dict(use_flow_sigmas=True, prediction_type="flow_prediction"), dict(use_flow_sigmas=True, prediction_type="flow_prediction", final_sigmas_type="sigma_min")),
    *[case("flow_match_euler", text, **config) for text, config in [
        ("shift 1", {}), ("shift 3 (SD3)", dict(shift=3.0)), ("pipeline sigmas, shift 1 (FLUX schnell)", dict(pipeline_sigmas=True, shift=1.0)),
        *[(f"pipeline sigmas, dynamic shifting, {n} tokens (FLUX dev)", dict(pipeline_sigmas=True, image_tokens=n, shift=3.0, use_dynamic_shifting=True)) for n in (256, 1024, 4096)],
        ("dynamic shifting", dict(use_dynamic_shifting=True, max_shift=1.16)), ("dynamic shifting, linear", dict(use_dynamic_shifting=True, time_shift_type="linear", image_tokens=1024)),
        ("shift_terminal 0.1", dict(shift=3.0, shift_terminal=0.1)), ("pipeline sigmas, shift_terminal 0.02", dict(pipeline_sigmas=True, use_dynamic_shifting=True, shift_terminal=0.02)),
        ("use_karras_sigmas true", dict(shift=3.0, use_karras_sigmas=True)), ("use_exponential_sigmas true", dict(shift=3.0, use_exponential_sigmas=True)), ("use_beta_sigmas true", dict(shift=3.0, use_beta_sigmas=True)),
        ("stochastic_sampling true", dict(shift=3.0, stochastic_sampling=True))]],
    *[case(own, f"from {text}", named=name, **config) for own, text, config in
        [("euler", "SDXL's config", SDXL), ("pndm", "SD 1.5's config", SD15), ("ddim", "SD 2.1's config", SD21)] for name in NAMES],
]


def main():
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    timesteps, samples = [], []
    for entry in CASES:
        entry["walks"] = walks = []
        for steps in STEPS:
            try:
                t, s = walk(entry, steps)
            except (ValueError, NotImplementedError, IndexError, RuntimeError, AssertionError) as error:
                walks.append(dict(steps=steps, fails=f"{type(error).__name__}: {str(error)[:100]}"))
                continue
            if not (s.isfinite().all() and t.isfinite().all()):
                walks.append(dict(steps=steps, fails=f"not finite after call {int((~s.isfinite()).any(1).nonzero()[0])}"))
                continue
            walks.append(dict(steps=steps, calls=len(t)))
            timesteps.append(t)
            samples.append(s)
    folder = Path(__file__).parent
    text = ",\n".join(json.dumps(entry) for entry in CASES)
    (folder / "schedulers.json").write_text(f"[{text}]\n")
    save_file(dict(start=START, noise=NOISE, timesteps=torch.cat(timesteps), samples=torch.cat(samples)), folder / "schedulers.safetensors")


if __name__ == "__main__":
    main()
