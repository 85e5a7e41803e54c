"""Tiny BLIP captioning models with random weights, laid out as Salesforce's base and large ones are, and what transformers 5 makes of them in f32.

usage: make_blip.py MODELS OUT, where MODELS is the repository's models/ (for its vocabulary). Writes OUT/blip_base and OUT/blip_large (whose
vision model is wider than its text decoder), each with reference.safetensors (pixels) and captions.json (prompts, ids, texts)."""
import json, os, shutil, sys
import torch
from safetensors.torch import save_file
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

MODELS, OUT = sys.argv[1:]
PROMPTS = ["", "a photo of", "A PHOTO OF", "a photo of ", "  a  photo\tof", "two", "crème brûlée 日本 🦊", "a red circle, and it's a star!", "a " * 15, "a " * 38, "a " * 39]
torch.set_num_threads(1)
# What files written by transformers 4 have in every configuration inside another; transformers 5 heeds none of it.
LEGACY = dict(_name_or_path="", add_cross_attention=False, architectures=None, bad_words_ids=None, chunk_size_feed_forward=0, diversity_penalty=0.0, do_sample=True, dropout=0.0, early_stopping=False, id2label={"0": "LABEL_0"},
    length_penalty=1.0, max_length=9, min_length=5, no_repeat_ngram_size=2, num_beams=4, num_return_sequences=1, repetition_penalty=1.5, temperature=1.0, tie_encoder_decoder=False, tie_word_embeddings=True, top_k=50, top_p=1.0,
    torch_dtype=None, transformers_version="4.26.0.dev0", use_bfloat16=False)


def blip(name, seed, vision, ending):
    torch.manual_seed(seed)
    out = f"{OUT}/{name}"
    vision = dict(vision, image_size=48, patch_size=16)
    text = dict(vocab_size=193, hidden_size=32, encoder_hidden_size=vision["hidden_size"], intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=40, bos_token_id=5, sep_token_id=3, eos_token_id=2, pad_token_id=0)
    model = BlipForConditionalGeneration(BlipConfig(vision_config=vision, text_config=text, projection_dim=32, image_text_hidden_size=16)).eval()
    for p in model.parameters():
        p.data = (p.data + 0.08 * torch.randn_like(p)).half().float()
    model.text_decoder.cls.predictions.bias.data[3] += ending
    model.text_decoder.cls.predictions.bias.data = model.text_decoder.cls.predictions.bias.data.half().float()
    model.tie_weights()
    os.makedirs(out, exist_ok=True)
    state = {k: v.half().clone().contiguous() for k, v in model.state_dict().items()}
    for tied in ("weight", "bias"):
        assert f"text_decoder.cls.predictions.decoder.{tied}" in state
    assert torch.equal(model.text_decoder.cls.predictions.decoder.bias, model.text_decoder.cls.predictions.bias)
    # A buffer that transformers 5 no longer stores.
    state["text_decoder.bert.embeddings.position_ids"] = torch.arange(40)[None]
    save_file(state, f"{out}/model.safetensors", metadata={"format": "pt"})
    config = dict(_commit_hash=None, architectures=["BlipForConditionalGeneration"], image_text_hidden_size=16, initializer_factor=1.0, initializer_range=0.02, logit_scale_init_value=2.6592, model_type="blip", projection_dim=32,
        torch_dtype="float32", transformers_version=None, text_config=LEGACY | dict(model_type="blip_text_model", hidden_act="gelu", hidden_dropout_prob=0.0, initializer_factor=1.0, is_decoder=True, layer_norm_eps=1e-12, use_cache=True) | text,
        vision_config=LEGACY | dict(model_type="blip_vision_model", hidden_act="gelu", initializer_factor=1.0, layer_norm_eps=1e-5, num_channels=3, projection_dim=512) | vision)
    # The width of what is attended to is the vision model's, whatever stands here.
    config["text_config"]["encoder_hidden_size"] = 768
    json.dump(config, open(f"{out}/config.json", "w"), indent=1)
    json.dump(dict(_from_model_config=True, bos_token_id=30522, eos_token_id=2, pad_token_id=0, transformers_version="4.27.0.dev0"), open(f"{out}/generation_config.json", "w"), indent=1)
    json.dump(dict(do_normalize=True, do_resize=True, image_mean=[0.48145466, 0.4578275, 0.40821073], image_processor_type="BlipImageProcessor", image_std=[0.26862954, 0.26130258, 0.27577711], processor_class="BlipProcessor",
        size=dict(height=48, width=48)), open(f"{out}/preprocessor_config.json", "w"), indent=1)
    shutil.copy(f"{MODELS}/shapes-blip/vocab.txt", f"{out}/vocab.txt")
    json.dump(dict(cls_token="[CLS]", do_lower_case=True, mask_token="[MASK]", model_max_length=512, pad_token="[PAD]", sep_token="[SEP]", strip_accents=None, tokenize_chinese_chars=True, tokenizer_class="BertTokenizer", unk_token="[UNK]",
        bos_token="[DEC]"), open(f"{out}/tokenizer_config.json", "w"), indent=1)
    model = BlipForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    tokenizer = BertTokenizer.from_pretrained(out)
    pixels = torch.randn(2, 3, 48, 48)
    captions = []
    for image in range(2):
        for prompt in PROMPTS:
            inputs = tokenizer(prompt, return_tensors="pt") if prompt else {}
            try:
                with torch.no_grad():
                    ids = model.generate(pixel_values=pixels[image : image + 1], input_ids=inputs.get("input_ids"), attention_mask=inputs.get("attention_mask"))[0]
                captions.append(dict(image=image, prompt=prompt, ids=ids.tolist(), text=tokenizer.decode(ids, skip_special_tokens=True)))
            except (ValueError, IndexError, RuntimeError) as error:
                captions.append(dict(image=image, prompt=prompt, ids=None, text=str(error)[:80]))
    json.dump(captions, open(f"{out}/captions.json", "w"), ensure_ascii=False, indent=1)
    save_file(dict(pixels=pixels), f"{out}/reference.safetensors")
    print(name, [(c["image"], c["prompt"][:12], c["ids"] and len(c["ids"]), c["text"][:50]) for c in captions], sep="\n")


blip("blip_base", 3, dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4), 0.8)
blip("blip_large", 4, dict(hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4), 0.8)
