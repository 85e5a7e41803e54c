"""A tiny safety checker with random weights, and what diffusers 0.42 and transformers 5 make of pictures with it in f32.

usage: make_safety.py OUT. Writes OUT/safety: safety_checker/ and feature_extractor/ as published repositories have them, pictures
N.png of several sizes, and reference.safetensors with pixel_values.N, concepts (pictures × 17) and special_care (pictures × 3) before
the thresholds, and flagged (pictures)."""
import json, os, sys
import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker, cosine_distance
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

torch.manual_seed(5)
torch.set_num_threads(1)
OUT = f"{sys.argv[1]}/safety"
SIDE = 28
# Width and height. The fourth and fifth are not resized, so that nothing lies between their pixels and their scores.
SIZES = [(64, 64), (200, 120), (33, 77), (SIDE, SIDE), (SIDE, SIDE), (29, 300), (256, 40), (8, 9), (31, 28), (150, 149)]
# What each picture is to be: flagged by a concept; flagged only because special care lowers the threshold; raised by special care and
# yet under it; above a threshold by less than the rounding; nothing.
BY_CONCEPT, BY_CARE, CARE_ONLY, ROUNDED_AWAY = (0, 5), 3, 1, 4


def picture(index, width, height):
    rng = np.random.default_rng(index)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    noise = rng.integers(-40, 41, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse).astype(int) + noise, 0, 255).astype(np.uint8))


def between(values, index):
    """Halfway between the value of a picture and the highest of the others."""
    others = np.delete(values, index).max()
    assert values[index] - others > 0.04, (values, index)
    return (values[index] + others) / 2


vision = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE, patch_size=7)
model = StableDiffusionSafetyChecker(CLIPConfig(projection_dim=24, vision_config=vision)).eval()
for name, p in model.named_parameters():
    if "norm" not in name:
        p.data = 0.25 * torch.randn_like(p)
    p.data = (p.data + 0.05 * torch.randn_like(p)).half().float()

pictures = [picture(index, *size) for index, size in enumerate(SIZES)]
processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
pixels = [processor(p, return_tensors="pt").pixel_values for p in pictures]
with torch.no_grad():
    embeds = torch.cat([model.visual_projection(model.vision_model(p)[1]) for p in pixels])
centred = embeds - embeds.mean(0)
# One concept each that looks for what is peculiar to a picture.
for concept, index in [(2, BY_CONCEPT[0]), (16, BY_CONCEPT[1]), (9, BY_CARE), (11, ROUNDED_AWAY)]:
    model.concept_embeds.data[concept] = centred[index].half().float()
for care, index in [(0, CARE_ONLY), (2, BY_CARE)]:
    model.special_care_embeds.data[care] = centred[index].half().float()
concepts = cosine_distance(embeds, model.concept_embeds).detach().numpy()
special = cosine_distance(embeds, model.special_care_embeds).detach().numpy()
thresholds, care = concepts.max(0) + 0.05, special.max(0) + 0.05
thresholds[2], thresholds[16] = between(concepts[:, 2], BY_CONCEPT[0]), between(concepts[:, 16], BY_CONCEPT[1])
thresholds[9] = concepts[BY_CARE, 9] + 0.005
thresholds[11] = concepts[ROUNDED_AWAY, 11] - 0.0003
care[0], care[2] = between(special[:, 0], CARE_ONLY), between(special[:, 2], BY_CARE)
model.concept_embeds_weights.data, model.special_care_embeds_weights.data = torch.tensor(thresholds), torch.tensor(care)

flagged = [model(p, [np.zeros(1)])[1][0] for p in pixels]
assert [i for i, flag in enumerate(flagged) if flag] == sorted([*BY_CONCEPT, BY_CARE]), flagged
os.makedirs(f"{OUT}/safety_checker", exist_ok=True)
# Transformers 5 leaves out a level of names that published files have, and whose index of positions it no longer stores.
state = {k.replace("vision_model.", "vision_model.vision_model.", 1): v.contiguous() for k, v in model.state_dict().items()}
state["vision_model.vision_model.embeddings.position_ids"] = torch.arange((SIDE // 7) ** 2 + 1)[None]
save_file(state, f"{OUT}/safety_checker/model.safetensors", metadata={"format": "pt"})
# As in the repository of Stable Diffusion 1.5: settings of the vision model in two places, of which the second counts.
legacy = dict(_name_or_path="CompVis/stable-diffusion-safety-checker", architectures=["StableDiffusionSafetyChecker"], initializer_factor=1.0,
    logit_scale_init_value=2.6592, model_type="clip", projection_dim=24, torch_dtype="float32", transformers_version=None,
    text_config=dict(hidden_size=768, model_type="clip_text_model", bos_token_id=0, eos_token_id=2), text_config_dict=dict(hidden_size=768),
    vision_config=dict(vision, hidden_size=768, hidden_act="quick_gelu", layer_norm_eps=1e-5, model_type="clip_vision_model", id2label={"0": "LABEL_0"}, dropout=0.0),
    vision_config_dict=vision)
json.dump(legacy, open(f"{OUT}/safety_checker/config.json", "w"), indent=1)
os.makedirs(f"{OUT}/feature_extractor", exist_ok=True)
extractor = dict(crop_size=SIDE, do_center_crop=True, do_convert_rgb=True, do_normalize=True, do_resize=True, feature_extractor_type="CLIPFeatureExtractor",
    image_mean=processor.image_mean, image_std=processor.image_std, resample=3, size=SIDE)
json.dump(extractor, open(f"{OUT}/feature_extractor/preprocessor_config.json", "w"), indent=1)
for index, p in enumerate(pictures):
    p.save(f"{OUT}/{index}.png")
values = {f"pixel_values.{index}": p.contiguous() for index, p in enumerate(pixels)}
save_file(values | dict(concepts=torch.tensor(concepts), special_care=torch.tensor(special), flagged=torch.tensor(flagged).to(torch.uint8)), f"{OUT}/reference.safetensors")
print(flagged, np.round(concepts - thresholds, 3).max(1), np.round(special - care, 3).max(1), sep="\n")
