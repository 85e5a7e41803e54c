"""The parts of shapes-sd: configurations of tokenizer, text encoder, UNet, VAE and noise schedule."""

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

NOISE_SCHEDULE = dict(
    num_train_timesteps=1000, beta_start=.00085, beta_end=.012, beta_schedule="scaled_linear",
    prediction_type="v_prediction",
)


def build_vae():
    # Four norm groups: with one channel a group the normalisation erases flat colours.
    return AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, block_out_channels=[16, 16, 32, 64], layers_per_block=1,
        latent_channels=4, norm_num_groups=4, act_fn="silu", sample_size=128,
    )


def load_tokenizer(folder):
    return CLIPTokenizer.from_pretrained(folder)


def build_text_encoder(tokenizer):
    tokens = len(tokenizer)
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=tokens, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=77, hidden_act="quick_gelu", layer_norm_eps=1e-5, projection_dim=128,
        bos_token_id=tokens - 2, eos_token_id=tokens - 1, pad_token_id=tokens - 1,
    ))


def build_unet():
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(48, 96, 96), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn", cross_attention_dim=128, attention_head_dim=4, norm_num_groups=16,
        act_fn="silu", flip_sin_to_cos=True, freq_shift=0, use_linear_projection=False,
    )


def load_pipeline(folder):
    """The exported model in f32, without progress bars."""
    logging.disable_progress_bar()
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
