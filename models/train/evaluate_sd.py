"""How often shapes-sd draws what the prompt says: judged by rule, and by what a captioner says of the picture."""

import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw

from evaluate_blip import caption
from judge import judge
from sd_model import load_pipeline
from shapes_data import Scene, canonical_caption, plain_caption, sample_scene, varied_caption
from training import end_with_parent, use_one_thread

GUIDANCE = 4.0
STEPS = 25
BATCH = 10
COLUMNS = ("background", "color", "shape", "all three", "caption")


@dataclass(frozen=True)
class Case:
    """A prompt; every other one of a held-out combination, every fourth in varied words."""

    number: int
    scene: Scene
    prompt: str


def evaluate_sd(folder, captioner, prompts, processes, sheet):
    """Draws `prompts` prompts, prints and returns the shares that are right, and saves some pictures to `sheet`."""
    use_one_thread()
    cases = _cases(prompts)
    images = _draw_all(folder, cases, processes)
    captions = caption(captioner, images)
    rows = [_judge(case, image, said) for case, image, said in zip(cases, images, captions)]
    groups = {
        "one object": [not case.scene.has_two_objects for case in cases],
        "two objects": [case.scene.has_two_objects for case in cases],
        "combinations trained on": [not case.scene.is_held_out for case in cases],
        "held-out combinations": [case.scene.is_held_out for case in cases],
    }
    print(f"evaluation of {folder}: DDIM, guidance {GUIDANCE:g}, {STEPS} steps; captions by {captioner}")
    print(f"  {'':<26}prompts" + "".join(f"{name:>12}" for name in COLUMNS))
    figures = {}
    for name, members in groups.items():
        chosen = [row for row, member in zip(rows, members) if member]
        shares = {column: float(np.mean([row[column] for row in chosen])) for column in COLUMNS} if chosen else {}
        figures[name] = {"prompts": len(chosen)} | shares
        print(f"  {name:<26}{len(chosen):>7}" + "".join(f"{share:>12.1%}" for share in shares.values()))
    _draw_sheet(cases, images, captions, rows).save(sheet)
    print(f"  pictures with their prompts and captions: {sheet}", flush=True)
    return figures


def _cases(count):
    rng = random.Random(4242)
    cases = []
    for number in range(count):
        scene = sample_scene(rng, .35, "train" if number % 2 == 0 else "held")
        prompt = plain_caption(scene) if number % 4 < 3 else varied_caption(rng, scene)
        cases.append(Case(number, scene, prompt))
    return cases


def _draw_all(folder, cases, processes):
    batches = [cases[first:first + BATCH] for first in range(0, len(cases), BATCH)]
    context = torch.multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_load_pipeline, initargs=(folder,)) as pool:
        return [image for images in pool.map(_draw, batches) for image in images]


def _load_pipeline(folder):
    global pipeline  # one for each process of the pool
    end_with_parent()
    use_one_thread()
    pipeline = load_pipeline(folder)


def _draw(cases):
    return [np.asarray(image) for image in pipeline(
        [case.prompt for case in cases], num_inference_steps=STEPS, guidance_scale=GUIDANCE, height=128, width=128,
        generator=[torch.Generator().manual_seed(10_000 + case.number) for case in cases],
    ).images]


def _judge(case, image, said):
    verdict = judge(image, case.scene)
    return verdict | {"all three": all(verdict.values()), "caption": said == canonical_caption(case.scene)}


def _draw_sheet(cases, images, captions, rows, columns=8, most=32):
    """The first pictures, under each its prompt and, green if right, its caption."""
    width, height, line = 190, 178, 32
    sheet = Image.new("RGB", (columns * width, -(-min(most, len(cases)) // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (case, image, said, row) in enumerate(zip(cases[:most], images, captions, rows)):
        left, top = i % columns * width, i // columns * height
        sheet.paste(Image.fromarray(image), (left + 30, top + 2))
        color = (0, 110, 0) if row["caption"] else (190, 0, 0)
        for at, text, fill in ((131, case.prompt, (0, 0, 0)), (153, "> " + said, color)):
            for row_number in range(2):
                part = text[row_number * line:(row_number + 1) * line]
                draw.text((left + 2, top + at + 11 * row_number), part.strip(), fill=fill)
    return sheet
