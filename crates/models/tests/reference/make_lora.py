"""LoRA files for the tiny models in sd15 and sdxl, and what diffusers 0.42 and PEFT 0.21 make of them in f32.

usage: make_lora.py MODELS REFERENCE, where MODELS is the repository's models/ (for its tokenizer) and REFERENCE holds sd15 and sdxl. Writes
REFERENCE/lora: peft.safetensors (diffusers' layout, alphas in the metadata), kohya.safetensors (kohya's, alphas as tensors),
kohya-ldm.safetensors (the same with the names of latent diffusion), kohya-xl.safetensors (for sdxl) and reference.safetensors (per case
latents, picture and parts of some weights)."""
import os, sys
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from common import adapter_metadata, changed_weights, factors, kohya_layer, unet_pipeline

MODELS, REFERENCE = sys.argv[1], sys.argv[2]
OUT = f"{REFERENCE}/lora"
# What is done with which file at which strength.
CASES = dict(peft=dict(peft=0.8), kohya=dict(kohya=1.3), both=dict(peft=0.7, kohya=-0.6))
torch.set_num_threads(1)
os.makedirs(OUT, exist_ok=True)


def pipeline(family="sd15"):
    return unet_pipeline(MODELS, f"{REFERENCE}/{family}")


def make_peft():
    pipe, generator = pipeline(), torch.Generator().manual_seed(1)
    unet = LoraConfig(r=4, lora_alpha=8, target_modules=["to_q", "to_k", "to_out.0", "ff.net.0.proj", "proj_in", "conv1", "conv_shortcut", "time_emb_proj"],
        rank_pattern={"attn2.to_k": 2, "conv1": 3}, alpha_pattern={"attn2.to_k": 1, "down_blocks.1.resnets.0.conv1": 5})
    text = LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj", "out_proj", "fc2"])
    pipe.unet.add_adapter(unet), pipe.text_encoder.add_adapter(text)
    layers = {name: factors(get_peft_model_state_dict(part), generator) for name, part in (("unet", pipe.unet), ("text_encoder", pipe.text_encoder))}
    StableDiffusionPipeline.save_lora_weights(OUT, layers["unet"], layers["text_encoder"], weight_name="peft.safetensors",
        unet_lora_adapter_metadata=adapter_metadata(unet), text_encoder_lora_adapter_metadata=adapter_metadata(text))


# Layers of the kohya files: as diffusers names them, as latent diffusion does, rank, alpha. The reference loses the alphas of attentions
# and of text encoders that differ from the most frequent one, so those do not differ here.
KOHYA = [
    ("conv_in", "input_blocks_0_0", 2, 1.0),
    ("down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", "input_blocks_1_1_transformer_blocks_0_attn1_to_q", 4, 2.0),
    ("down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0", "input_blocks_1_1_transformer_blocks_0_attn1_to_out_0", 4, 2.0),
    ("down_blocks_0_downsamplers_0_conv", "input_blocks_3_0_op", 3, 1.5),
    ("down_blocks_1_resnets_0_conv_shortcut", "input_blocks_4_0_skip_connection", 2, 2.0),
    ("down_blocks_2_attentions_1_proj_out", "input_blocks_8_1_proj_out", 4, 1.0),
    ("down_blocks_3_resnets_1_time_emb_proj", "input_blocks_11_0_emb_layers_1", 3, 3.0),
    ("mid_block_resnets_1_conv2", "middle_block_2_out_layers_3", 2, 0.5),
    ("mid_block_attentions_0_transformer_blocks_0_attn2_to_v", "middle_block_1_transformer_blocks_0_attn2_to_v", 8, 2.0),
    ("up_blocks_1_upsamplers_0_conv", "output_blocks_5_2_conv", 2, 2.0),
    ("up_blocks_3_resnets_2_conv1", "output_blocks_11_0_in_layers_2", 2, 2.0),
    ("up_blocks_3_attentions_2_transformer_blocks_0_ff_net_2", "output_blocks_11_1_transformer_blocks_0_ff_net_2", 4, 8.0),
]
KOHYA_TEXT = [("text_model_encoder_layers_0_self_attn_v_proj", 2), ("text_model_encoder_layers_0_self_attn_out_proj", 2), ("text_model_encoder_layers_2_mlp_fc1", 4)]


def make_kohya():
    pipe, generator = pipeline(), torch.Generator().manual_seed(2)
    weights = {k.removesuffix(".weight").replace(".", "_"): v for part in (pipe.unet, pipe.text_encoder) for k, v in part.state_dict().items() if k.endswith(".weight")}
    files = dict(kohya={}, ldm={})
    layers = [("lora_unet_", *layer) for layer in KOHYA] + [("lora_te_", name, name, rank, 3.0) for name, rank in KOHYA_TEXT]
    for prefix, name, ldm, rank, alpha in layers:
        weight = weights.get(name, weights.get(name.removeprefix("text_model_")))
        factors = kohya_layer(weight, rank, alpha, generator)
        for file, spelled in (("kohya", name), ("ldm", ldm)):
            files[file] |= {f"{prefix}{spelled}.{k}": v.clone() for k, v in factors.items()}
    save_file(files["kohya"], f"{OUT}/kohya.safetensors")
    save_file(files["ldm"], f"{OUT}/kohya-ldm.safetensors")
    # The reference reads both alike, as far as it goes: it takes input_blocks_11 for a part of input_blocks_1, and knows no time
    # embedding or upsampler of blocks without attention.
    kept = [number for number, (_, ldm, _, _) in enumerate(KOHYA) if not ldm.startswith(("input_blocks_11", "output_blocks_11"))]
    some = {spelled: {k: v for k, v in files[spelled].items() if any(KOHYA[number][which] == k.split(".")[0].removeprefix("lora_unet_") for number in kept)}
        for which, spelled in enumerate(("kohya", "ldm"))}
    plain, alphas = pipe.lora_state_dict(some["kohya"])
    renamed, renamed_alphas = pipe.lora_state_dict(some["ldm"], unet_config=pipe.unet.config)
    unlike = [k for k, v in plain.items() if k not in renamed or not torch.equal(renamed[k], v)]
    print(len(plain), "tensors, read differently with the names of latent diffusion:", unlike, {k for k in alphas if alphas[k] != renamed_alphas.get(k)})


# The same of the file for sdxl; kohya's trainer knows its U-Net by the names of latent diffusion only.
KOHYA_XL = [
    ("unet", "time_embedding.linear_1", "lora_unet_time_embed_0", 2, 2.0),
    ("unet", "add_embedding.linear_2", "lora_unet_label_emb_0_2", 2, 2.0),
    ("unet", "down_blocks.0.resnets.0.conv1", "lora_unet_input_blocks_1_0_in_layers_2", 2, 1.0),
    ("unet", "down_blocks.1.downsamplers.0.conv", "lora_unet_input_blocks_4_0_op", 2, 2.0),
    ("unet", "down_blocks.2.attentions.0.transformer_blocks.1.attn2.to_k", "lora_unet_input_blocks_5_1_transformer_blocks_1_attn2_to_k", 4, 2.0),
    ("unet", "mid_block.attentions.0.proj_in", "lora_unet_middle_block_1_proj_in", 2, 4.0),
    ("unet", "up_blocks.0.attentions.1.transformer_blocks.0.ff.net.0.proj", "lora_unet_output_blocks_1_1_transformer_blocks_0_ff_net_0_proj", 4, 2.0),
    ("unet", "up_blocks.1.upsamplers.0.conv", "lora_unet_output_blocks_3_2_conv", 2, 2.0),
    ("unet", "up_blocks.2.resnets.1.conv_shortcut", "lora_unet_output_blocks_5_0_skip_connection", 2, 2.0),
    ("text_encoder", "encoder.layers.1.self_attn.out_proj", "lora_te1_text_model_encoder_layers_1_self_attn_out_proj", 2, 1.0),
    ("text_encoder", "encoder.layers.0.mlp.fc1", "lora_te1_text_model_encoder_layers_0_mlp_fc1", 2, 1.0),
    ("text_encoder_2", "encoder.layers.2.self_attn.out_proj", "lora_te2_text_model_encoder_layers_2_self_attn_out_proj", 4, 2.0),
    ("text_encoder_2", "encoder.layers.1.mlp.fc2", "lora_te2_text_model_encoder_layers_1_mlp_fc2", 2, 2.0),
]


def make_kohya_xl():
    pipe, generator = pipeline("sdxl"), torch.Generator().manual_seed(3)
    tensors = {}
    for component, layer, key, rank, alpha in KOHYA_XL:
        state = getattr(pipe, component).state_dict()
        weight = next(v for k, v in state.items() if k in (f"{layer}.weight", f"text_model.{layer}.weight"))
        tensors |= {f"{key}.{k}": v for k, v in kohya_layer(weight, rank, alpha, generator).items()}
    save_file(tensors, f"{OUT}/kohya-xl.safetensors")


def cropped(noise):
    return noise[:, :, :8, :6]


def draw(pipe, noise):
    height, width = noise.shape[2] * 8, noise.shape[3] * 8
    latents = pipe("a large red circle", negative_prompt="a blue star", width=width, height=height, num_inference_steps=5, guidance_scale=3.0, latents=noise.clone(), output_type="latent").images
    with torch.no_grad():
        return latents, pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample


RECORDED = {"unet": ["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", "down_blocks.1.resnets.0.conv1", "down_blocks.1.resnets.0.conv_shortcut", "down_blocks.2.attentions.1.proj_out",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_k", "mid_block.resnets.1.conv2", "up_blocks.3.attentions.2.transformer_blocks.0.ff.net.2", "up_blocks.1.resnets.2.time_emb_proj", "conv_in"],
    "text_encoder": ["encoder.layers.0.self_attn.q_proj", "encoder.layers.0.self_attn.v_proj", "encoder.layers.2.mlp.fc1", "encoder.layers.2.mlp.fc2"]}


def record_xl():
    noise = cropped(load_file(f"{REFERENCE}/sdxl/reference.safetensors")["noise"])
    pictures = []
    for strength in (0, 0.9):
        pipe = pipeline("sdxl")
        if strength:
            pipe.load_lora_weights(OUT, weight_name="kohya-xl.safetensors", adapter_name="kohya")
            pipe.set_adapters(["kohya"], [strength])
        pictures.append(draw(pipe, noise))
    print("kohya-xl changes the latents by", (pictures[1][0] - pictures[0][0]).abs().max().item())
    pipe.fuse_lora(adapter_names=["kohya"])
    pipe.unload_lora_weights()
    components = {component: [layer for name, layer, *_ in KOHYA_XL if name == component] for component in ("unet", "text_encoder", "text_encoder_2")}
    return {"xl.latents": pictures[1][0], "xl.image": pictures[1][1]} | changed_weights(pipe, "xl", components)


def record():
    base = load_file(f"{REFERENCE}/sd15/reference.safetensors")
    latents, _ = draw(pipeline(), base["noise"])
    assert (latents - base["latents"]).abs().max() < 1e-4
    noise, out = cropped(base["noise"]), {}
    plain = draw(pipeline(), noise)
    for case, strengths in CASES.items():
        pipe = pipeline()
        for file in strengths:
            before = {k: v.clone() for k, v in pipe.text_encoder.state_dict().items() if ".lora_" in k}
            pipe.load_lora_weights(OUT, weight_name=f"{file}.safetensors", adapter_name=file)
            # The second file begins the first one's change of the text encoder anew.
            pipe.text_encoder.load_state_dict(before, strict=False)
        pipe.set_adapters(list(strengths), list(strengths.values()))
        latents, image = draw(pipe, noise)
        out |= {f"{case}.latents": latents, f"{case}.image": image}
        print(case, "changes the latents by", (latents - plain[0]).abs().max().item(), "and the picture by", (image - plain[1]).abs().mean().item())
        pipe.fuse_lora(adapter_names=list(strengths))
        pipe.unload_lora_weights()
        out |= changed_weights(pipe, case, RECORDED)
    out |= record_xl()
    save_file({k: v.contiguous() for k, v in out.items()}, f"{OUT}/reference.safetensors")


make_peft()
make_kohya()
make_kohya_xl()
record()
