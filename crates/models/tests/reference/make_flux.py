"""Tiny FLUX.1 models with random weights, and what diffusers 0.42 and transformers 5 make of them in f32.

usage: make_flux.py MODELS OUT, where MODELS is the repository's models/ (for CLIP's tokenizer). Writes OUT/flux-schnell (without guidance, no
shift of the schedule) and OUT/flux-dev (with guidance, the schedule shifted by the number of image tokens), each with reference.safetensors."""
import sys
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel
from common import CLIP_VOCAB, clip_tokenizer, randomise, save, t5_tokenizer

MODELS, OUT = sys.argv[1], sys.argv[2]
PROMPTS = [("a large red circle", None), ("a small cyan star", "a blue heart on a white background")]
SIZES = [(64, 64), (48, 96)]
STEPS = [1, 4, 28]


def components(guidance, scheduler):
    transformer = randomise(FluxTransformer2DModel(in_channels=64, num_layers=2, num_single_layers=3, num_attention_heads=2, attention_head_dim=16,
        joint_attention_dim=32, pooled_projection_dim=24, guidance_embeds=guidance, axes_dims_rope=(4, 6, 6)))
    vae = randomise(AutoencoderKL(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4, latent_channels=16, sample_size=128, scaling_factor=0.3611, shift_factor=0.1159,
        use_quant_conv=False, use_post_quant_conv=False, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4))
    clip = randomise(CLIPTextModel(CLIPTextConfig(hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu", projection_dim=24, **CLIP_VOCAB)))
    tokenizer_2 = t5_tokenizer()
    t5 = randomise(T5EncoderModel(T5Config(vocab_size=256, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu", tie_word_embeddings=False)))
    assert len(tokenizer_2) <= 256
    return FluxPipeline(FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, **scheduler), vae, clip, clip_tokenizer(MODELS), t5, tokenizer_2, transformer)


def transformer_outputs(pipe, tensors):
    """Two pictures at once, at an early and at a late timestep."""
    height, width = 6, 4
    latents, text, pooled = torch.randn(2, 16, height, width), torch.randn(2, 5, 32), torch.randn(2, 24)
    packed = pipe._pack_latents(latents, 2, 16, height, width)
    ids = pipe._prepare_latent_image_ids(2, height // 2, width // 2, "cpu", torch.float32)
    tensors.update({"transformer.latents": latents, "transformer.text": text, "transformer.pooled": pooled})
    for timestep, guidance in [(965.5, 3.5), (31.25, 1.0)]:
        scale = torch.full([2], guidance) if pipe.transformer.config.guidance_embeds else None
        out = pipe.transformer(hidden_states=packed, timestep=torch.full([2], timestep) / 1000, guidance=scale, pooled_projections=pooled, encoder_hidden_states=text,
            txt_ids=torch.zeros(5, 3), img_ids=ids, return_dict=False)[0]
        tensors[f"transformer.{timestep:g}"] = pipe._unpack_latents(out, height * 8, width * 8, 8).contiguous()
    ids = pipe._prepare_latent_image_ids(1, 2, 48, "cpu", torch.float32)
    cos, sin = pipe.transformer.pos_embed(torch.cat([torch.zeros(3, 3), ids]))
    tensors.update({"rotary.cos": cos[:, ::2].contiguous(), "rotary.sin": sin[:, ::2].contiguous()})


def flux(name, guidance, scheduler, scale, seed):
    torch.manual_seed(seed)
    pipe = components(guidance, scheduler)
    pipe.set_progress_bar_config(disable=True)
    tensors = {}
    with torch.no_grad():
        transformer_outputs(pipe, tensors)
        for index, (prompt, prompt_2) in enumerate(PROMPTS):
            text, pooled, _ = pipe.encode_prompt(prompt, prompt_2)
            tensors.update({f"prompt.{index}.text": text, f"prompt.{index}.pooled": pooled})
        for size, (width, height) in enumerate(SIZES):
            noise = torch.randn(1, 16, height // 8, width // 8)
            tensors[f"size.{size}.noise"] = noise
            packed = pipe._pack_latents(noise, 1, 16, height // 8, width // 8)
            prompt, prompt_2 = PROMPTS[size]
            for steps in STEPS:
                latents = pipe(prompt, prompt_2, width=width, height=height, num_inference_steps=steps, guidance_scale=scale, latents=packed, output_type="latent").images
                latents = pipe._unpack_latents(latents, height, width, 8)
                image = pipe.vae.decode(latents / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor).sample
                tensors[f"size.{size}.steps.{steps}.latents"] = latents.contiguous()
                if steps > 1:
                    tensors[f"size.{size}.steps.{steps}.image"] = image
                print(name, (width, height), steps, latents.std().item(), image.min().item(), image.max().item())
    save(pipe, f"{OUT}/{name}", {"tokenizer": "CLIPTokenizer", "tokenizer_2": "T5TokenizerFast"})
    save_file(tensors, f"{OUT}/{name}/reference.safetensors")


shift = dict(base_image_seq_len=256, max_image_seq_len=4096, base_shift=0.5, max_shift=1.15)
flux("flux-schnell", False, dict(shift=1.0, use_dynamic_shifting=False, **shift), 0.0, 41)
flux("flux-dev", True, dict(shift=3.0, use_dynamic_shifting=True, **shift), 3.5, 42)
