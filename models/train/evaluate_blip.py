"""How often shapes-blip says exactly the caption of a fresh drawing."""

import random

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BlipForConditionalGeneration

from shapes_data import Masks, canonical_caption, render, sample_scene, to_image
from training import use_one_thread

BATCH = 20


def evaluate_blip(folder, drawings=150):
    """Prints and returns the shares of exact captions over `drawings` each of seen and of held-out combinations."""
    use_one_thread()
    rng, masks = random.Random(909), Masks(8, seed=4321)
    figures = {}
    for split, name in (("train", "fresh drawings"), ("held", "held-out combinations")):
        scenes = [sample_scene(rng, .35, split) for _ in range(drawings)]
        captions = caption(folder, [np.asarray(to_image(render(rng, scene, masks))) for scene in scenes])
        exact = [said == canonical_caption(scene) for said, scene in zip(captions, scenes)]
        figures[name] = float(np.mean(exact))
        for kind, wanted in (("one object", False), ("two objects", True)):
            chosen = [right for right, scene in zip(exact, scenes) if scene.has_two_objects == wanted]
            figures[f"{name}, {kind}"] = float(np.mean(chosen)) if chosen else None
    print(f"evaluation of {folder}: exact captions, {drawings} drawings each")
    for name, share in figures.items():
        print(f"  {name:<34}" + (f"{share:6.1%}" if share is not None else "  none"))
    return figures


@torch.no_grad()
def caption(folder, images):
    """The captions of `images`, each u8 [128, 128, 3]."""
    model = BlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    captions = []
    for first in range(0, len(images), BATCH):
        pixels = np.stack(images[first:first + BATCH]).astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
        ids = model.generate(pixel_values=torch.from_numpy(pixels), max_new_tokens=24, num_beams=1, do_sample=False)
        captions += [tokenizer.decode(row.tolist(), skip_special_tokens=True) for row in ids]
    return captions
