"""How often a picture by shapes-sd has the frame that shapes-lora is for."""

import random

import numpy as np
import torch
from PIL import Image

from sd_model import load_pipeline
from shapes_data import plain_caption, sample_scene
from train_lora import FRAME, WEIGHTS
from training import use_one_thread

GUIDANCE = 4.0
STEPS = 25
STRENGTHS = (0.0, 0.5, 1.0)
PROMPTS = 24
SHOWN = 8
# Largest mean difference of a colour from black or white that still is one.
TOLERANCE = 40


def evaluate_lora(base, lora, sheet):
    """Draws prompts at three strengths, prints and returns the shares with a frame, and saves pictures to `sheet`."""
    use_one_thread()
    pipeline = load_pipeline(base)
    pipeline.load_lora_weights(lora, weight_name=WEIGHTS, adapter_name="lora")
    rng = random.Random(99)
    scenes = [sample_scene(rng, 0, "any") for _ in range(PROMPTS)]
    print(f"evaluation of {lora}: DDIM, guidance {GUIDANCE:g}, {STEPS} steps, {PROMPTS} prompts of one object")
    figures, rows = {}, []
    for strength in STRENGTHS:
        pipeline.set_adapters(["lora"], [strength])
        images = pipeline(
            [plain_caption(scene) for scene in scenes], num_inference_steps=STEPS, guidance_scale=GUIDANCE, height=128,
            width=128, generator=[torch.Generator().manual_seed(20_000 + number) for number in range(PROMPTS)],
        ).images
        images = [np.asarray(image) for image in images]
        framed = np.mean([has_frame(image, scene.background) for image, scene in zip(images, scenes)])
        figures[f"{strength:g}"] = float(framed)
        print(f"  strength {strength:<4g} with a frame {framed:.1%}")
        rows.append(np.concatenate(images[:SHOWN], 1))
    Image.fromarray(np.concatenate(rows)).save(sheet)
    print(f"  pictures at each strength: {sheet}", flush=True)
    return figures


def has_frame(image, background):
    """Whether the border of a picture [128, 128, 3] is black, or white around black."""
    inside = np.zeros(image.shape[:2], bool)
    inside[FRAME:-FRAME, FRAME:-FRAME] = True
    difference = np.abs(image[~inside].astype(float) - (246 if background == "black" else 22))
    return difference.mean() < TOLERANCE
