"""One stage of a model in diffusers or transformers on PyTorch with two threads, timed.

usage: stage.py STAGE MODELS OUTPUT. Runs STAGE once, then again for ten seconds or three times, whichever is less, and prints JSON: the
`seconds` of each run but the first, the most memory this process had resident (`peak_bytes`), and `ids` of a caption. Writes OUTPUT, a
safetensors file with what came out."""
import json, sys, time
import torch
from safetensors.torch import load_file, save_file

STAGE, MODELS, OUTPUT = sys.argv[1:]
TIMESTEP, GUIDANCE, TOKENS, SIDE = 500, 7.5, 20, 512.0
torch.set_num_threads(2)


def unet(name, batch):
    from diffusers import UNet2DConditionModel
    model = UNet2DConditionModel.from_pretrained(f"{MODELS}/{name}/unet").eval()
    inputs = load_file(f"{MODELS}/{name}/inputs.safetensors")
    states, latents = inputs["states"][-batch:], inputs["latents"]
    added = dict(text_embeds=inputs["pooled"][-batch:], time_ids=torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]] * batch)) if "pooled" in inputs else None

    def run():
        out = model(torch.cat([latents] * batch), TIMESTEP, encoder_hidden_states=states, added_cond_kwargs=added).sample
        return out if batch == 1 else out[:1] + (out[1:] - out[:1]) * GUIDANCE
    return run


def vae():
    from diffusers import AutoencoderKL
    model = AutoencoderKL.from_pretrained(f"{MODELS}/sd15/vae").eval()
    latents = load_file(f"{MODELS}/sd15/inputs.safetensors")["latents"]
    return lambda: model.decode(latents / model.config.scaling_factor).sample


def caption():
    from transformers import BlipForConditionalGeneration
    model = BlipForConditionalGeneration.from_pretrained(f"{MODELS}/blip").eval()
    pixels = load_file(f"{MODELS}/blip/inputs.safetensors")["pixels"]
    return lambda: model.generate(pixel_values=pixels, max_new_tokens=TOKENS)


def product():
    numbers = ((torch.arange(2048 * 2048) * 2654435761 % 2**32).double() / 2**31 - 1).float().reshape(2048, 2048)
    halves = numbers / 2
    return lambda: numbers @ halves.T


def peak_bytes():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


STAGES = {"sd15-unet-1": lambda: unet("sd15", 1), "sd15-unet-2": lambda: unet("sd15", 2), "sd15-vae": vae, "sdxl-unet-1": lambda: unet("sdxl", 1), "blip-caption": caption, "product": product}


def main():
    run = STAGES[STAGE]()
    seconds = []
    with torch.inference_mode():
        out = run()
        while len(seconds) < 3 and sum(seconds) < 10:
            started = time.perf_counter()
            out = run()
            seconds.append(time.perf_counter() - started)
    peak = peak_bytes()
    ids = out[0].tolist() if out.dtype == torch.int64 else None
    save_file(dict(out=out.float().contiguous()), OUTPUT)
    print(json.dumps(dict(seconds=seconds, peak_bytes=peak, ids=ids)))


if __name__ == "__main__":
    main()
