"""LoRA files for the tiny models in sd3, sd35, flux-dev and flux-schnell, and what diffusers 0.42 and PEFT 0.21 make of them in f32.

usage: make_lora_transformers.py REFERENCE, which holds those models. Writes to REFERENCE/lora, in the layout of diffusers: sd3-peft.safetensors,
sd35-peft.safetensors (without metadata) and flux-peft.safetensors (for both models); in those of trainers that know the original implementations, which
fuse projections: sd35-kohya.safetensors, flux-kohya.safetensors, flux-xlabs.safetensors; and transformers.safetensors (per case latents, picture and
parts of all changed weights)."""
import inspect, sys
import torch
from diffusers import FluxPipeline, StableDiffusion3Pipeline
from diffusers.loaders import lora_conversion_utils, lora_pipeline
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from common import adapter_metadata, changed_weights, factors, kohya_layer

REFERENCE = sys.argv[1]
OUT = f"{REFERENCE}/lora"
torch.set_num_threads(1)

QKV, ADDED = ["attn.to_q", "attn.to_k", "attn.to_v"], ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"]
JOINT = QKV + ADDED + ["attn.to_out.0", "attn.to_add_out", "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2", "norm1.linear", "norm1_context.linear"]


def layers_of(block, names):
    return [f"{block}.{name}" if block else name for name in names]


# Layers in the layout of diffusers, by component. The last block of Stable Diffusion 3 only reads the text.
SD3 = dict(transformer=layers_of("transformer_blocks.1", JOINT) + layers_of("transformer_blocks.2", ["attn.add_k_proj", "norm1_context.linear"])
        + ["pos_embed.proj", "context_embedder", "time_text_embed.text_embedder.linear_1", "time_text_embed.timestep_embedder.linear_2", "norm_out.linear", "proj_out"],
    text_encoder=["encoder.layers.1.self_attn.q_proj", "encoder.layers.0.mlp.fc2"],
    text_encoder_2=["encoder.layers.0.self_attn.out_proj", "encoder.layers.1.self_attn.v_proj", "text_projection"])
SD35 = dict(transformer=layers_of("transformer_blocks.0", ["attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0", "attn.to_q", "attn.add_q_proj", "norm1.linear", "ff.net.2"]),
    text_encoder=["encoder.layers.1.self_attn.q_proj"], text_encoder_2=["encoder.layers.0.mlp.fc1", "encoder.layers.2.self_attn.k_proj"])
FLUX = dict(transformer=layers_of("transformer_blocks.0", JOINT) + layers_of("single_transformer_blocks.1", QKV + ["proj_mlp", "proj_out", "norm.linear"])
        + layers_of("single_transformer_blocks.0", ["proj_out"]) + layers_of("single_transformer_blocks.2", ["proj_out"])
        + ["x_embedder", "context_embedder", "time_text_embed.timestep_embedder.linear_1", "time_text_embed.text_embedder.linear_2", "norm_out.linear", "proj_out"],
    text_encoder=["encoder.layers.0.self_attn.q_proj", "encoder.layers.1.self_attn.out_proj", "encoder.layers.1.mlp.fc1"])
# Layers of the original implementations, the layers of diffusers that they are, rank and alpha. Where the reference reads the file, it multiplies factors
# by alpha / rank in f16, so those are powers of two.
KOHYA_SD35 = [
    ("joint_blocks.0.x_block.attn.qkv", "transformer_blocks.0", QKV, 2, 1.0),
    ("joint_blocks.0.x_block.attn2.qkv", "transformer_blocks.0", ["attn2.to_q", "attn2.to_k", "attn2.to_v"], 2, 3.0),
    ("joint_blocks.1.x_block.attn2.proj", "transformer_blocks.1", ["attn2.to_out.0"], 1, 1.0),
    ("joint_blocks.1.context_block.attn.qkv", "transformer_blocks.1", ADDED, 3, 2.0),
    ("joint_blocks.1.context_block.attn.proj", "transformer_blocks.1", ["attn.to_add_out"], 2, 2.0),
    ("joint_blocks.1.context_block.adaLN_modulation.1", "transformer_blocks.1", ["norm1_context.linear"], 2, 1.0),
    ("joint_blocks.1.context_block.mlp.fc1", "transformer_blocks.1", ["ff_context.net.0.proj"], 2, 2.0),
    ("joint_blocks.1.context_block.mlp.fc2", "transformer_blocks.1", ["ff_context.net.2"], 2, 2.0),
    ("joint_blocks.2.context_block.attn.qkv", "transformer_blocks.2", ADDED, 2, 2.0),
    ("joint_blocks.2.context_block.adaLN_modulation.1", "transformer_blocks.2", ["norm1_context.linear"], 2, 2.0),
    ("joint_blocks.2.x_block.attn.proj", "transformer_blocks.2", ["attn.to_out.0"], 2, 4.0),
    ("joint_blocks.2.x_block.mlp.fc1", "transformer_blocks.2", ["ff.net.0.proj"], 2, 2.0),
    ("joint_blocks.2.x_block.mlp.fc2", "transformer_blocks.2", ["ff.net.2"], 2, 2.0),
    ("joint_blocks.2.x_block.adaLN_modulation.1", "transformer_blocks.2", ["norm1.linear"], 1, 0.5),
    ("t_embedder.mlp.0", "time_text_embed.timestep_embedder", ["linear_1"], 1, 1.0),
    ("y_embedder.mlp.2", "time_text_embed.text_embedder", ["linear_2"], 1, 1.0),
    ("context_embedder", "", ["context_embedder"], 2, 2.0),
    ("x_embedder.proj", "pos_embed", ["proj"], 2, 2.0),
    ("final_layer.adaLN_modulation.1", "norm_out", ["linear"], 2, 2.0),
    ("final_layer.linear", "", ["proj_out"], 2, 2.0),
]
KOHYA_FLUX = [
    ("double_blocks.0.img_attn.qkv", "transformer_blocks.0", QKV, 2, 1.0),
    ("double_blocks.0.img_attn.proj", "transformer_blocks.0", ["attn.to_out.0"], 4, 1.0),
    ("double_blocks.0.img_mod.lin", "transformer_blocks.0", ["norm1.linear"], 1, 1.0),
    ("double_blocks.0.img_mlp.0", "transformer_blocks.0", ["ff.net.0.proj"], 2, 2.0),
    ("double_blocks.0.img_mlp.2", "transformer_blocks.0", ["ff.net.2"], 2, 4.0),
    ("double_blocks.1.txt_attn.qkv", "transformer_blocks.1", ADDED, 3, 3.0),
    ("double_blocks.1.txt_attn.proj", "transformer_blocks.1", ["attn.to_add_out"], 2, 1.0),
    ("double_blocks.1.txt_mod.lin", "transformer_blocks.1", ["norm1_context.linear"], 2, 1.0),
    ("double_blocks.1.txt_mlp.0", "transformer_blocks.1", ["ff_context.net.0.proj"], 2, 2.0),
    ("double_blocks.1.txt_mlp.2", "transformer_blocks.1", ["ff_context.net.2"], 1, 2.0),
    ("single_blocks.0.linear1", "single_transformer_blocks.0", QKV + ["proj_mlp"], 2, 2.0),
    ("single_blocks.0.linear2", "single_transformer_blocks.0", ["proj_out"], 2, 1.0),
    ("single_blocks.2.modulation.lin", "single_transformer_blocks.2", ["norm.linear"], 2, 2.0),
    ("img_in", "", ["x_embedder"], 2, 1.0),
    ("txt_in", "", ["context_embedder"], 1, 1.0),
    ("time_in.in_layer", "time_text_embed.timestep_embedder", ["linear_1"], 1, 2.0),
    ("vector_in.out_layer", "time_text_embed.text_embedder", ["linear_2"], 1, 1.0),
    ("guidance_in.out_layer", "time_text_embed.guidance_embedder", ["linear_2"], 2, 1.0),
    # Whose alphas the reference does not read.
    ("final_layer.linear", "", ["proj_out"], 2, 2.0),
    ("final_layer.adaLN_modulation.1", "norm_out", ["linear"], 2, 2.0),
]
# The reference knows the others by the output projection only.
KOHYA_FLUX_TEXT = [("encoder.layers.0.self_attn.q_proj", 2, 1.0), ("encoder.layers.0.self_attn.out_proj", 2, 1.0), ("encoder.layers.1.mlp.fc2", 1, 1.0)]
XLABS = [
    ("double_blocks.0.processor.qkv_lora1", "transformer_blocks.0", QKV, 2),
    ("double_blocks.0.processor.qkv_lora2", "transformer_blocks.0", ADDED, 2),
    ("double_blocks.1.processor.proj_lora1", "transformer_blocks.1", ["attn.to_out.0"], 3),
    ("double_blocks.1.processor.proj_lora2", "transformer_blocks.1", ["attn.to_add_out"], 2),
    ("single_blocks.1.processor.qkv_lora", "single_transformer_blocks.1", QKV, 2),
    ("single_blocks.1.processor.proj_lora", "single_transformer_blocks.1", ["proj_out"], 2),
]


def pipeline(cls, name):
    pipe = cls.from_pretrained(f"{REFERENCE}/{name}", dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_peft(pipe, file, layers, seed, adapters):
    """`adapters` gives ranks and alphas by component; one that is missing there has no metadata, and so an alpha as its rank."""
    generator, state, metadata = torch.Generator().manual_seed(seed), {}, {}
    for component, names in layers.items():
        config = LoraConfig(**dict(r=2) | adapters.get(component, {}), target_modules=names)
        getattr(pipe, component).add_adapter(config)
        state[f"{component}_lora_layers"] = factors(get_peft_model_state_dict(getattr(pipe, component)), generator)
        if component in adapters:
            metadata[f"{component}_lora_adapter_metadata"] = adapter_metadata(config) | dict(base_model_name_or_path=None)
    type(pipe).save_lora_weights(OUT, **state, **metadata, weight_name=f"{file}.safetensors")


def fused(pipe, layers):
    """A weight of the shape that layers have together."""
    weights = [pipe.transformer.state_dict()[f"{layer}.weight"] for layer in layers]
    return torch.empty(sum(len(weight) for weight in weights), *weights[0].shape[1:])


def make_kohya(pipe, file, layers, text, seed):
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for original, block, names, rank, alpha in layers:
        layer = kohya_layer(fused(pipe, layers_of(block, names)), rank, alpha, generator)
        tensors |= {f"lora_unet_{original.replace('.', '_')}.{k}": v for k, v in layer.items()}
    for name, rank, alpha in text:
        layer = kohya_layer(pipe.text_encoder.state_dict()[f"{name}.weight"], rank, alpha, generator)
        tensors |= {f"lora_te1_text_model_{name.replace('.', '_')}.{k}": v for k, v in layer.items()}
    save_file(tensors, f"{OUT}/{file}.safetensors")


def make_xlabs(pipe):
    generator, tensors = torch.Generator().manual_seed(76), {}
    for original, block, names, rank in XLABS:
        layer = kohya_layer(fused(pipe, layers_of(block, names)), rank, 1.0, generator)
        tensors |= {f"{original}.{way}.weight": layer[f"lora_{way}.weight"] for way in ("down", "up")}
    save_file(tensors, f"{OUT}/flux-xlabs.safetensors")


def mend_the_converter():
    """The reference's knows the sizes of the published model only, and names embedders and last layer in such a way that nobody loads them."""
    source, sizes = inspect.getsource(lora_conversion_utils._convert_kohya_flux_lora_to_diffusers), "dims=[3072, 3072, 3072, 12288]"
    assert source.count(sizes) == 1
    scope = dict(vars(lora_conversion_utils))
    exec(source.replace(sizes, "dims=[32, 32, 32, 128]"), scope)

    def convert(state):
        converted = scope["_convert_kohya_flux_lora_to_diffusers"](state)
        return {k if k.startswith(("transformer.", "text_encoder.")) else f"transformer.{k}": v for k, v in converted.items()}

    lora_pipeline._convert_kohya_flux_lora_to_diffusers = convert


def check_comfyui():
    """ComfyUI's names of the same layers are read alike."""
    kohya = load_file(f"{OUT}/flux-kohya.safetensors")
    names = {f"lora_unet_{original.replace('.', '_')}": f"diffusion_model.{original}" for original, *_ in KOHYA_FLUX}
    names |= {f"lora_te1_text_model_{name.replace('.', '_')}": f"text_encoders.clip_l.transformer.text_model.{name}" for name, *_ in KOHYA_FLUX_TEXT}
    comfyui = {".".join([names[k.split(".")[0]], *k.split(".")[1:]]): v for k, v in kohya.items()}
    plain, renamed = FluxPipeline.lora_state_dict(kohya), FluxPipeline.lora_state_dict(comfyui)
    print("read differently with ComfyUI's names:", [k for k in plain.keys() | renamed.keys() if k not in plain or k not in renamed or not torch.equal(plain[k], renamed[k])])


class Changes(dict):
    """A checkpoint of Stability AI's implementation that is zero where it says nothing."""

    def pop(self, key):
        return super().pop(key, torch.zeros(6, 1))


def merge_kohya_sd35(pipe, strength):
    """The reference reads no such LoRA, but the weights of the original implementation: it renames, splits and reorders the sums `B·A`."""
    file, changes = load_file(f"{OUT}/sd35-kohya.safetensors"), Changes()
    for original, _, _, rank, alpha in KOHYA_SD35:
        down, up = (file[f"lora_unet_{original.replace('.', '_')}.lora_{way}.weight"].float() for way in ("down", "up"))
        changes[f"{original}.weight"] = alpha / rank * (up.flatten(1) @ down.flatten(1)).reshape(len(up), *down.shape[1:])
    changes["y_embedder.mlp.0.weight"] = torch.zeros(32, 1)
    converted = convert_sd3_transformer_checkpoint_to_diffusers(changes)
    assert not changes, changes.keys()
    state = pipe.transformer.state_dict()
    for key, change in converted.items():
        if change.any():
            state[key] += strength * change


def draw(pipe, noise, guidance):
    height, width = noise.shape[2] * 8, noise.shape[3] * 8
    flux = isinstance(pipe, FluxPipeline)
    start = pipe._pack_latents(noise, 1, 16, *noise.shape[2:]) if flux else noise.clone()
    negative = {} if flux else dict(negative_prompt="a blue star")
    latents = pipe("a large red circle", **negative, width=width, height=height, num_inference_steps=3, guidance_scale=guidance, latents=start, output_type="latent").images
    if flux:
        latents = pipe._unpack_latents(latents, height, width, 8)
    with torch.no_grad():
        return latents, pipe.vae.decode(latents / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor).sample


def weights(pipe, components):
    """All parameters, by the names that they have without LoRAs."""
    parts = {component: getattr(pipe, component).state_dict() for component in components}
    return {f"{component}.{k.replace('.base_layer', '').removeprefix('text_model.')}": v.clone() for component, part in parts.items() for k, v in part.items() if ".lora_" not in k}


def record(case, pipe, name, guidance, strengths, layers, merge=lambda pipe: None):
    noise = load_file(f"{REFERENCE}/{name}/reference.safetensors")
    noise = noise["size.0.noise" if "size.0.noise" in noise else "noise"][:, :, :6, :4]
    plain, before = draw(pipe, noise, guidance), weights(pipe, layers)
    merge(pipe)
    for file in strengths:
        pipe.load_lora_weights(OUT, weight_name=f"{file}.safetensors", adapter_name=file)
    pipe.set_adapters(list(strengths), list(strengths.values()))
    latents, image = draw(pipe, noise, guidance)
    print(case, "changes the latents by", (latents - plain[0]).abs().mean().item(), "of", plain[0].abs().mean().item(), "and the picture by", (image - plain[1]).abs().mean().item(), "of", plain[1].abs().mean().item())
    pipe.fuse_lora(components=list(layers), adapter_names=list(strengths))
    pipe.unload_lora_weights()
    after = weights(pipe, layers)
    changed = {k.removesuffix(".weight") for k in after if not torch.equal(after[k], before[k])}
    named = {f"{component}.{layer}" for component, names in layers.items() for layer in names}
    assert after.keys() == before.keys() and changed == named, f"{case}: {changed ^ named}"
    return {f"{case}.latents": latents, f"{case}.image": image} | changed_weights(pipe, case, layers)


def together(*files):
    """The layers of several files."""
    return {component: sorted({layer for file in files for layer in file.get(component, [])}) for component in ("transformer", "text_encoder", "text_encoder_2") if any(component in file for file in files)}


def originals(layers):
    return dict(transformer=[layer for _, block, names, *_ in layers for layer in layers_of(block, names)])


def sd3():
    return pipeline(StableDiffusion3Pipeline, "sd3")


def sd35():
    return pipeline(StableDiffusion3Pipeline, "sd35")


def flux(name="flux-dev"):
    return pipeline(FluxPipeline, name)


make_peft(sd3(), "sd3-peft", SD3, 71, dict(transformer=dict(r=2, lora_alpha=3, rank_pattern={"attn.to_k": 3, "norm1.linear": 1}, alpha_pattern={"attn.to_k": 1, "^proj_out": 2}),
    text_encoder=dict(r=1, lora_alpha=2), text_encoder_2=dict(r=2, lora_alpha=1)))
make_peft(sd35(), "sd35-peft", SD35, 72, {})
make_peft(flux(), "flux-peft", FLUX, 74, dict(transformer=dict(r=2, lora_alpha=3, rank_pattern={"attn.to_v": 1, "proj_mlp": 3}, alpha_pattern={"attn.to_v": 1, "norm_out.linear": 1}),
    text_encoder=dict(r=2, lora_alpha=2)))
make_kohya(sd35(), "sd35-kohya", KOHYA_SD35, [], 73)
make_kohya(flux(), "flux-kohya", KOHYA_FLUX, KOHYA_FLUX_TEXT, 75)
make_xlabs(flux())
mend_the_converter()
check_comfyui()

kohya_flux = originals(KOHYA_FLUX) | dict(text_encoder=[name for name, *_ in KOHYA_FLUX_TEXT])
tensors = record("sd3-peft", sd3(), "sd3", 3.0, {"sd3-peft": 0.9}, SD3)
tensors |= record("sd35-both", sd35(), "sd35", 3.0, {"sd35-peft": 0.7}, together(SD35, originals(KOHYA_SD35)), lambda pipe: merge_kohya_sd35(pipe, -0.6))
tensors |= record("flux-dev-peft", flux(), "flux-dev", 3.5, {"flux-peft": 0.8}, FLUX)
tensors |= record("flux-dev-kohya", flux(), "flux-dev", 3.5, {"flux-kohya": 1.2}, kohya_flux)
tensors |= record("flux-schnell-both", flux("flux-schnell"), "flux-schnell", 0.0, {"flux-peft": 0.6, "flux-xlabs": -0.7}, together(FLUX, originals(XLABS)))
save_file({k: v.contiguous() for k, v in tensors.items()}, f"{OUT}/transformers.safetensors")
