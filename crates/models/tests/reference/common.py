"""What the scripts that make reference repositories and LoRAs for them share: random weights that fit f16, the tokenizers of tiny text encoders, and what
is recorded of changed weights."""
import json
import diffusers
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5Tokenizer

torch.set_num_threads(1)
SPECIAL = dict(bos_token="<|startoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>")
CLIP_VOCAB = dict(vocab_size=713, bos_token_id=711, eos_token_id=712, pad_token_id=712)


def randomise(model):
    """Every parameter away from its neutral value, and representable in f16."""
    for p in model.parameters():
        p.data = (p.data + 0.05 * torch.randn_like(p)).half().float()
    return model.eval()


def bytes_to_unicode():
    """GPT-2's printable stand-ins for bytes, in CLIP's order."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) for b in plain] + [chr(256 + n) for n in range(len(others))]


def clip_words(merges):
    """CLIP's whole vocabulary in the order of ids, which follows from its merges (lines of two tokens)."""
    letters = bytes_to_unicode()
    words = letters + [c + "</w>" for c in letters] + [m.replace(" ", "") for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    assert len(words) == len(set(words)) == 49408
    return words


def clip_tokenizer(models):
    """The one of the bundled model; its ids are those of CLIP_VOCAB."""
    return CLIPTokenizer.from_pretrained(f"{models}/shapes-sd/tokenizer")


def unet_pipeline(models, folder):
    """The pipeline of a tiny model with a U-Net in f32, with the scheduler that its configuration names. `models` is as for clip_tokenizer."""
    def tokenizer(pad):
        return PreTrainedTokenizerFast(tokenizer_file=f"{models}/shapes-sd/tokenizer/tokenizer.json", model_max_length=77, pad_token=pad, **SPECIAL)

    named = lambda file: json.load(open(f"{folder}/{file}"))["_class_name"]
    parts = dict(scheduler=getattr(diffusers, named("scheduler/scheduler_config.json")).from_pretrained(f"{folder}/scheduler"), dtype=torch.float32)
    if named("model_index.json") == "StableDiffusionXLPipeline":
        pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(folder, tokenizer=tokenizer("<|endoftext|>"), tokenizer_2=tokenizer("!"), add_watermarker=False, **parts)
    else:
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, tokenizer=tokenizer("<|endoftext|>"), safety_checker=None, **parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def t5_tokenizer():
    """A Unigram tokenizer as T5's, of words about shapes and of single letters."""
    words = "a the large small red green blue yellow orange purple pink cyan white black circle square triangle star heart ring cross diamond on in background photo of über café naïve 日本 жук".split()
    letters = [chr(c) for c in range(33, 127)]
    trainer = trainers.UnigramTrainer(vocab_size=190, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator([" ".join(words[i:] + words[:i]) for i in range(len(words))] + letters, trainer)
    vocab = [(token, round(score, 4)) for token, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    # The trainer leaves tokens of equal score in any order.
    return T5Tokenizer(vocab=vocab[:3] + sorted(vocab[3:], key=lambda entry: (-entry[1], entry[0])), extra_ids=4)


def save(pipe, out, tokenizers):
    """The pipeline's folder with f16 weights; `tokenizers` gives the classes that published folders name, by component."""
    pipe.to(torch.float16).save_pretrained(out)
    pipe.to(torch.float32)
    index = json.load(open(f"{out}/model_index.json"))
    index.update({name: ["transformers", kind] for name, kind in tokenizers.items()})
    json.dump(index, open(f"{out}/model_index.json", "w"), indent=2)


def factors(shapes, generator):
    """Random factors of a LoRA with the keys and shapes of `shapes`: away from the zeros that training begins with, and representable in f16."""
    return {k: (torch.randn(v.shape, generator=generator) * 0.15).half().contiguous() for k, v in shapes.items()}


def kohya_layer(weight, rank, alpha, generator):
    """What kohya's trainer stores for a layer."""
    outputs, inputs, *kernel = weight.shape
    shapes = {"lora_down.weight": (rank, inputs, *kernel), "lora_up.weight": (outputs, rank, *[1 for _ in kernel])}
    return factors({k: torch.empty(s) for k, s in shapes.items()}, generator) | dict(alpha=torch.tensor(alpha).half())


def adapter_metadata(config):
    return config.to_dict() | dict(target_modules=sorted(config.target_modules))


# Of a changed weight every so many values are recorded: of all columns, since their number is no multiple of it, and of nearly all rows.
EVERY = 31


def changed_weights(pipe, case, layers):
    """A part of the weights of some layers, by component, after `fuse_lora`."""
    out = {}
    for component, names in layers.items():
        state = getattr(pipe, component).state_dict()
        for layer in names:
            weight = next(v for k, v in state.items() if k in (f"{layer}.weight", f"text_model.{layer}.weight"))
            out[f"{case}.{component}.{layer}"] = weight.flatten()[::EVERY].clone()
    return out
