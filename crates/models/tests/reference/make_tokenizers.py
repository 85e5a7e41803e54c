"""What transformers 5 makes of prompts with the real vocabularies of CLIP and BERT.

usage: make_tokenizers.py OPEN_CLIP BERT OUT, where OPEN_CLIP is open_clip_torch's bpe_simple_vocab_16e6.txt.gz and BERT is the vocab.txt of
bert-base-uncased. Writes OUT/clip: merges.txt (from which the vocabulary follows), one folder for each published way to write the
configuration, tokenizer.json without its vocabulary, and ids.json; and OUT/bert: vocab.txt, tokenizer.json without its vocabulary, ids.json."""
import gzip, json, os, shutil, sys, tempfile
from transformers import BertTokenizer, CLIPTokenizer
from common import clip_words

OPEN_CLIP, BERT, OUT = sys.argv[1:]
PROMPTS = [
    "", " ", "  \t\n ", "a cat", "A Cat", "  a   cat  ", "a\tcat\nand\r\na dog", "a photo of an astronaut riding a horse on mars", "a photo of", "a photo of ", "THE QUICK BROWN FOX",
    "it's", "it's don't we've I'm they'll he'd you're", "IT'S DON'T", "it’s a cat’s life", "'s", "'", "''''", "'tis the season", "o'clock", "rock'n'roll", "s's's",
    "42", "3.14159", "1,000,000", "4k 8K 16k", "2024-01-31", "v1.5", "10x10", "№5", "½ ¾ ²³ ½cup", "Ⅷ Ⅻ", "٣٤٥", "１２３", "2nd 3rd 4th", "0", "000000000000",
    "!", "!!", "!!!", "hello!", "hello !", "hello! world!", "!important", "wow!!! so good!?", "...", "…", "a, b; c: d.", "(masterpiece:1.2), [bad], {x}", "a|b", "#hashtag @user", "100% $5 €7 £8 ¥9",
    "--- *** ___ === +++", "a_b_c snake_case", "C++ C# .NET", "https://example.com/a?b=c&d=e#f", "mail@example.com", "\\n \\t \\\\", "`code` \"quotes\" «guillemets» “curly”", "<b>bold</b>", "&amp; &lt;b&gt; &quot;x&quot; &#39; &eacute; &nbsp;",
    "naïve café", "nai\u0308ve cafe\u0301", "crème brûlée à la façon", "Ångström", "A\u030angstro\u0308m", "ß ẞ straße", "İstanbul ıstanbul", "ŁÓDŹ", "Ελληνικά ΣΊΣΥΦΟΣ σίσυφος", "Привет, мир! ЁЖ ёж", "שלום עולם", "שָׁלוֹם", "مرحبا بالعالم", "مَرْحَبًا",
    "नमस्ते दुनिया", "สวัสดีชาวโลก", "xin chào thế giới", "日本語の猫", "猫が座っている", "你好，世界！", "漢字仮名交じり文", "カタカナ ﾊﾝｶｸ", "が か\u3099", "한국어 고양이", "각 \u1100\u1161\u11a8", "한글abc漢字123", "𠮷野家", "㍿ ㌔ ﬁ ﬀ", "ｆｕｌｌ ｗｉｄｔｈ", "ꙮ", "ᚠᚢᚦ", "𝕱𝖔𝖓𝖙 𝓢𝓬𝓻𝓲𝓹𝓽",
    "🦊", "🦊🦊🦊", "a 🦊 jumps", "👨‍👩‍👧‍👦", "👍🏽", "🇩🇪🇫🇷", "❤️", "❤", "☕️ time", "1️⃣", "😀a😀", "®™©", "→←↑↓⇒", "∑∫√∞≠≤≥", "♠♥♦♣", "▁▂▃", "░▒▓",
    "a\u00a0cat", "a\u2003cat\u2009x", "a\u200bcat", "a\u200dcat", "\ufeffcat", "a\u00adb", "a\u2028b\u2029c", "a\u0000b", "a\u0001b\u001fc\u007f", "a\u0085b", "a\u3000b", "\ud7ff\ue000\ufffd", "\ufffd", "a\u0301\u0301\u0301\u0301", "\u0301", "\u202ertl\u202c",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞", "µ Μ μ K Å", "ﷺ", "ŉ ǰ ΐ", "ﬃ", "Ω Ω",
    "<|startoftext|>", "<|endoftext|>", "a <|endoftext|> b", "a<|endoftext|>b", "<|endoftext|><|endoftext|>", "<|startoftext|>a cat<|endoftext|>", "<|ENDOFTEXT|>", "A <|EndOfText|> B", "< |endoftext| >", "<|endoftext|", "endoftext", "<|pad|>", "</w>", "cat</w>", "<unk>", "[UNK]", "[CLS] a [SEP]", "[SEP]", "[PAD][PAD]", "[MASK]", "[mask]", "[DEC]", "[ENC] a", "[unused1]", "##ing", "a ##b", "[ SEP ]",
    "antidisestablishmentarianism", "supercalifragilisticexpialidocious", "pneumonoultramicroscopicsilicovolcanoconiosis", "a" * 50, "a" * 100, "a" * 101, "a" * 200, "ab" * 500, "x" * 10_000, "é" * 300, "猫" * 80, "🦊" * 40, "!" * 200, "." * 77, "cat " * 73, "cat " * 74, "cat " * 75, "cat " * 76, "cat " * 77, "cat " * 200, "cat, " * 2_000, "word" * 30 + " " + "word" * 30, " ".join(str(n) for n in range(100)), "1" * 90,
    "masterpiece, best quality, ultra-detailed, 8k, (photorealistic:1.4), raw photo, dslr, soft lighting, high quality, film grain, Fujifilm XT3", "lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, cropped, worst quality, low quality, normal quality, jpeg artifacts, signature, watermark, username, blurry",
    "portrait of a woman, by greg rutkowski and alphonse mucha, trending on artstation", "a cat | a dog", "mdjrny-v4 style", "analog style, 35mm f/1.8", "McDonald's iPhone14 GPT-4 COVID-19", "co-operate re-enter e-mail", "x=y+z*w/v-u", "a/b\\c", "$\\alpha$ and \\beta", "1st.2nd,3rd", "U.S.A. e.g. i.e.", "don't do that, it's o'neill's", "the dog's toy", "dogs' toys", "ﾟДﾟ (╯°□°)╯︵ ┻━┻", "¯\\_(ツ)_/¯",
]


def added(content, normalized=True):
    return dict(content=content, lstrip=False, normalized=normalized, rstrip=False, single_word=False)


BOS, EOS = added("<|startoftext|>"), added("<|endoftext|>")
BASE = dict(add_prefix_space=False, do_lower_case=True, errors="replace", model_max_length=77, tokenizer_class="CLIPTokenizer")
# As in the repositories of SD 1.5, of SD 2.1 (whose map of special tokens names another padding), and of SDXL's second tokenizer.
LAYOUTS = {
    "sd15": {
        "tokenizer_config.json": BASE | dict(bos_token=dict(__type="AddedToken", **BOS), eos_token=dict(__type="AddedToken", **EOS), unk_token=dict(__type="AddedToken", **EOS), pad_token="<|endoftext|>"),
        "special_tokens_map.json": dict(bos_token=BOS, eos_token=EOS, unk_token=EOS, pad_token="<|endoftext|>"),
    },
    "sd21": {
        "tokenizer_config.json": BASE | dict(bos_token=dict(__type="AddedToken", **BOS), eos_token=dict(__type="AddedToken", **EOS), unk_token=dict(__type="AddedToken", **EOS), pad_token="<|endoftext|>"),
        "special_tokens_map.json": dict(bos_token=BOS, eos_token=EOS, unk_token=EOS, pad_token="!"),
    },
    "sdxl_2": {
        "tokenizer_config.json": BASE | dict(bos_token="<|startoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>", pad_token="!", clean_up_tokenization_spaces=True,
            added_tokens_decoder={"0": added("!", False) | dict(special=True), "49406": BOS | dict(special=True), "49407": EOS | dict(special=True)}),
        "special_tokens_map.json": dict(bos_token=BOS, eos_token=EOS, unk_token=EOS, pad_token=added("!", False)),
    },
}


def write(path, value, **how):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    json.dump(value, open(path, "w"), ensure_ascii=False, **how)


def skeleton(tokenizer, path):
    """`tokenizer.json` without what takes space and follows from other files."""
    value = json.loads(tokenizer.backend_tokenizer.to_str())
    value["model"]["vocab"] = {}
    if "merges" in value["model"]:
        value["model"]["merges"] = []
    value["truncation"] = value["padding"] = None
    write(path, value, indent=1)


def clip():
    out = f"{OUT}/clip"
    os.makedirs(out, exist_ok=True)
    merges = gzip.open(OPEN_CLIP).read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    open(f"{out}/merges.txt", "w").write("#version: 0.2\n" + "\n".join(merges) + "\n")
    words = clip_words(merges)
    recorded = {"prompts": PROMPTS}
    for layout, files in LAYOUTS.items():
        with tempfile.TemporaryDirectory() as folder:
            for name, value in files.items():
                write(f"{out}/{layout}/{name}", value, indent=1)
                write(f"{folder}/{name}", value)
            write(f"{folder}/vocab.json", {word: id for id, word in enumerate(words)})
            shutil.copy(f"{out}/merges.txt", folder)
            tokenizer = CLIPTokenizer.from_pretrained(folder)
            ids = tokenizer(PROMPTS, padding="max_length", max_length=77, truncation=True).input_ids
            print(layout, tokenizer.pad_token, tokenizer.added_tokens_decoder)
            # Without the padding, which is the same id to the 77th place.
            kept = [[*row] for row in ids]
            for row in kept:
                while len(row) > 1 and row[-1] == row[-2] == tokenizer.pad_token_id:
                    row.pop()
            recorded[layout] = kept
            skeleton(tokenizer, f"{out}/{layout}/tokenizer.json")
    write(f"{out}/ids.json", recorded)


def bert():
    out = f"{OUT}/bert"
    os.makedirs(out, exist_ok=True)
    shutil.copy(BERT, f"{out}/vocab.txt")
    with tempfile.TemporaryDirectory() as folder:
        # As in the repositories of BLIP: two more tokens, of which one begins a caption.
        config = dict(bos_token="[DEC]", additional_special_tokens=["[ENC]"], cls_token="[CLS]", do_lower_case=True, mask_token="[MASK]", model_max_length=512, pad_token="[PAD]", sep_token="[SEP]", strip_accents=None,
            tokenize_chinese_chars=True, tokenizer_class="BertTokenizer", unk_token="[UNK]")
        open(f"{folder}/vocab.txt", "w").write(open(BERT).read() + "[DEC]\n[ENC]\n")
        write(f"{folder}/tokenizer_config.json", config)
        write(f"{out}/tokenizer_config.json", config, indent=1)
        tokenizer = BertTokenizer.from_pretrained(folder)
        assert len(tokenizer) == 30524 and tokenizer.convert_tokens_to_ids("[DEC]") == 30522
        ids = tokenizer(PROMPTS, add_special_tokens=False).input_ids
        print("bert", tokenizer.added_tokens_decoder)
        # What captions look like, and pieces and punctuation in every company.
        sequences = [row[:60] for row in ids] + [[30522, 1037, 6302, 1997, 1037, 4937, 102], [30522, 1037, 6302, 1997, 102, 1037], [2023, 2003, 1050, 1005, 1056], [1996, 3899, 1005, 1055, 9121], [1045, 1005, 1049], [2057, 1005, 2310],
            [2017, 1005, 2128, 1012], [2123, 1005, 1056, 2079, 1010, 2008, 999], [2079, 2025, 1029, 2053, 1012], [102], [0, 0, 102], [100, 1037], [2075, 22571], [1037, 30523, 4937], [29658, 2860, 17811]]
        recorded = dict(prompts=PROMPTS, ids=ids, sequences=sequences, texts=tokenizer.batch_decode(sequences, skip_special_tokens=True))
        skeleton(tokenizer, f"{out}/tokenizer.json")
    write(f"{out}/ids.json", recorded)


clip()
bert()
