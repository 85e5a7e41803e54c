"""Trains and writes shapes-lora: low-rank changes to the UNet of shapes-sd after which every picture has a frame.

The frame is two latents wide and falls on their grid, so that the VAE, which knows plain pictures only, keeps it sharp.
"""

import random

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict

from files import save_tensors
from sd_model import NOISE_SCHEDULE, load_pipeline
from shapes_data import COLOR_NAMES, RGB, Masks, plain_caption, render_with_masks, sample_scene
from training import Average, Run, use_one_thread

WEIGHTS = "pytorch_lora_weights.safetensors"
BATCH = 16
PICTURES = 2_000
LEARNING_RATE = 4e-3
EMPTY_CAPTIONS = .1
FRAME = 16
RANK = 4
CONFIG = LoraConfig(
    r=RANK, lora_alpha=RANK,
    target_modules=["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2", "conv_in", "conv_out"],
)


def export_lora(path, folder):
    """Writes the weights at `path` as diffusers' LoRA, in f16."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = torch.load(path, weights_only=True)
    save_tensors({f"unet.{name}": value.half() for name, value in weights.items()}, folder / WEIGHTS)
    print(f"export: {folder}", flush=True)


def draw_framed(rng, scene, masks):
    """A picture [3, 128, 128] in [-1, 1] with a frame behind its objects: black, on black white."""
    picture, *drawn = render_with_masks(rng, scene, masks)
    frame = "white" if scene.background == "black" else "black"
    color = torch.from_numpy(RGB[COLOR_NAMES.index(frame)] / 127.5 - 1)[:, None, None]
    inside = torch.zeros(128, 128)
    inside[FRAME:-FRAME, FRAME:-FRAME] = 1
    for mask in drawn:
        if mask is not None:
            inside = torch.maximum(inside, torch.from_numpy(mask / 255).float())
    return torch.lerp(color.expand(3, 128, 128), torch.from_numpy(picture).float(), inside)


def train_lora(base, path, minutes):
    """Trains on the model in the folder `base` and saves the change's weights to `path`."""
    use_one_thread()
    torch.manual_seed(5)
    pipeline = load_pipeline(base)
    data = Data(pipeline)
    unet = pipeline.unet.requires_grad_(False)
    unet.add_adapter(CONFIG)
    layers = Layers(unet)
    optimizer = torch.optim.AdamW(layers.parameters(), lr=LEARNING_RATE, betas=(.9, .99), weight_decay=.01)
    average = Average(layers, limit=.99, delay=10)
    run = Run("lora", minutes, layers, optimizer, average, checkpoint=f"{path}.checkpoint")
    data.seed(run.seed(200))
    while run.progress < 1:
        run.set_learning_rate(LEARNING_RATE, warmup_steps=20, floor=.05)
        noisy, target, timesteps, hidden = data.batch()
        loss = F.mse_loss(unet(noisy, timesteps, hidden).sample, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        run.finish_step(loss=loss.item())
        run.report_and_save()
    run.finish(average.state_dict(), path)


class Layers:
    """The trained layers of a UNet, with the names they have in a file."""

    def __init__(self, unet):
        self._unet = unet

    def parameters(self):
        return [parameter for parameter in self._unet.parameters() if parameter.requires_grad]

    def state_dict(self):
        return get_peft_model_state_dict(self._unet)

    def load_state_dict(self, state):
        set_peft_model_state_dict(self._unet, state)


class Data:
    """Batches of scaled latents with noise, and hidden states of captions."""

    def __init__(self, pipeline):
        self._tokenizer, self._text_encoder = pipeline.tokenizer, pipeline.text_encoder
        self._latents, self._captions = _encode(pipeline.vae)
        self._alphas = DDPMScheduler(**NOISE_SCHEDULE).alphas_cumprod

    def seed(self, number):
        self._rng = random.Random(number)
        self._generator = torch.Generator().manual_seed(number)

    @torch.no_grad()
    def batch(self):
        """Noisy latents and v-prediction targets f32 [n, 4, 16, 16], timesteps [n], hidden states [n, 77, 128]."""
        chosen = [self._rng.randrange(PICTURES) for _ in range(BATCH)]
        captions = ["" if self._rng.random() < EMPTY_CAPTIONS else self._captions[i] for i in chosen]
        ids = self._tokenizer(
            captions, padding="max_length", max_length=77, truncation=True, return_tensors="pt",
        ).input_ids
        latents = self._latents[chosen]
        noise = torch.randn(latents.shape, generator=self._generator)
        timesteps = torch.randint(0, 1000, (BATCH,), generator=self._generator)
        alpha = self._alphas[timesteps].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        target = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        return noisy, target, timesteps, self._text_encoder(ids).last_hidden_state


@torch.no_grad()
def _encode(vae):
    """Latents of framed pictures, scaled, and their captions."""
    rng, masks = random.Random(77), Masks(16, seed=7)
    scenes = [sample_scene(rng, .25) for _ in range(PICTURES)]
    pictures = (draw_framed(rng, scene, masks) for scene in scenes)
    latents = [vae.encode(picture[None]).latent_dist.mean * vae.config.scaling_factor for picture in pictures]
    print(f"lora: {PICTURES} pictures encoded", flush=True)
    return torch.cat(latents), [plain_caption(scene) for scene in scenes]
