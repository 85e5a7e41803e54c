"""Tiny models with random weights in the layouts of Stable Diffusion 3 and 3.5, and what diffusers 0.42 and transformers 5 make of them in f32.

usage: make_sd3.py MODELS OUT, where MODELS is the repository's models/ (for CLIP's tokenizer). Writes OUT/sd3 (as SD 3 medium: queries and
keys as they are; also run without its T5) and OUT/sd35 (as SD 3.5 medium: they are normalised, the first layers attend twice; its T5
in shards), each with reference.safetensors."""
import json, os, shutil, sys
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel
from common import CLIP_VOCAB, clip_tokenizer, randomise, save, t5_tokenizer

MODELS, OUT = sys.argv[1], sys.argv[2]
PROMPTS = dict(prompt="a large red circle", prompt_2="a small cyan star", prompt_3="a blue heart on a white background, café 日本", negative_prompt="a blue star")
WIDTH, HEIGHT = 96, 64


def clip(act, hidden, projection):
    config = CLIPTextConfig(hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=3, num_attention_heads=2, hidden_act=act, projection_dim=projection, **CLIP_VOCAB)
    return randomise(CLIPTextModelWithProjection(config))


def components(**kind):
    transformer = randomise(SD3Transformer2DModel(sample_size=16, num_layers=3, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=48, caption_projection_dim=32,
        pooled_projection_dim=28, pos_embed_max_size=12, **kind))
    table = transformer.pos_embed
    table.pos_embed = table.pos_embed.half().float()
    vae = randomise(AutoencoderKL(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4, latent_channels=16, sample_size=128, scaling_factor=1.5305, shift_factor=0.0609,
        use_quant_conv=False, use_post_quant_conv=False, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4))
    t5 = randomise(T5EncoderModel(T5Config(vocab_size=256, d_model=48, d_kv=8, d_ff=64, num_layers=3, num_heads=4, feed_forward_proj="gated-gelu", tie_word_embeddings=False)))
    # Wide enough that positions matter.
    bias = t5.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
    bias.data = (bias + torch.randn_like(bias)).half().float()
    second = CLIPTokenizer.from_pretrained(f"{MODELS}/shapes-sd/tokenizer", pad_token="!")
    return StableDiffusion3Pipeline(transformer, FlowMatchEulerDiscreteScheduler(shift=3.0), vae, clip("quick_gelu", 24, 12), clip_tokenizer(MODELS), clip("gelu", 20, 16), second, t5, t5_tokenizer())


def prompts(pipe, tensors, name):
    shown, avoided, pooled, avoided_pooled = pipe.encode_prompt(**dict(dict(prompt_2=None, prompt_3=None), **PROMPTS))
    tensors.update({f"{name}.states": torch.cat([avoided, shown]), f"{name}.pooled": torch.cat([avoided_pooled, pooled])})


def pictures(pipe, tensors, name, steps):
    for count in steps:
        latents = pipe(**PROMPTS, width=WIDTH, height=HEIGHT, num_inference_steps=count, guidance_scale=4.5, latents=tensors["noise"].clone(), output_type="latent").images
        image = pipe.vae.decode(latents / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor).sample
        tensors.update({f"{name}.{count}.latents": latents, f"{name}.{count}.image": image})
        print(name, count, latents.std().item(), image.min().item(), image.max().item())


def stable_diffusion_3(name, seed, **kind):
    torch.manual_seed(seed)
    shutil.rmtree(f"{OUT}/{name}", ignore_errors=True)
    pipe = components(**kind)
    pipe.set_progress_bar_config(disable=True)
    tensors = dict(noise=torch.randn(1, 16, HEIGHT // 8, WIDTH // 8))
    with torch.no_grad():
        prompts(pipe, tensors, "prompts")
        for timestep in (965.5, 31.25):
            both = pipe.transformer(torch.cat([tensors["noise"]] * 2), tensors["prompts.states"], tensors["prompts.pooled"], torch.tensor([timestep] * 2)).sample
            tensors[f"transformer.{timestep:g}"] = both
            print(name, timestep, both.std().item(), (both[0] - both[1]).std().item())
        pictures(pipe, tensors, "guided", (4, 28))
        if name == "sd3":
            t5, pipe.text_encoder_3 = pipe.text_encoder_3, None
            prompts(pipe, tensors, "without_t5")
            tensors["without_t5.states"], zeros = tensors["without_t5.states"].split([77, 256], 1)
            assert not zeros.any()
            pictures(pipe, tensors, "without_t5", (4,))
            pipe.register_modules(text_encoder_3=t5)
    save(pipe, f"{OUT}/{name}", {"tokenizer": "CLIPTokenizer", "tokenizer_2": "CLIPTokenizer", "tokenizer_3": "T5TokenizerFast"})
    save_file({k: v.contiguous() for k, v in tensors.items()}, f"{OUT}/{name}/reference.safetensors")
    return pipe


stable_diffusion_3("sd3", 51)
pipe = stable_diffusion_3("sd35", 52, qk_norm="rms_norm", dual_attention_layers=(0, 1))
folder = f"{OUT}/sd35/text_encoder_3"
os.remove(f"{folder}/model.safetensors")
pipe.text_encoder_3.half().save_pretrained(folder, max_shard_size="40KB")
