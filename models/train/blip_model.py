"""The parts of shapes-blip: its vocabulary and configuration."""

from transformers import BlipConfig

from shapes_data import COLOR_NAMES, SHAPES, SIZES

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
PAD, SEP, DEC = (SPECIAL_TOKENS.index(token) for token in ("[PAD]", "[SEP]", "[DEC]"))
WIDTH = 128
PATCH = 16
MEAN, STD = [.5, .5, .5], [.5, .5, .5]
_OTHER_WORDS = (
    "a an the on above below left right of to is in with and photo picture image drawing background there it shows "
    "showing shape object scene two one medium color colored"
).split()


def _vocabulary():
    """Special tokens, each printable ASCII character alone and as a continuation, and the words of captions."""
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    words = sorted({*COLOR_NAMES, *SHAPES, *SIZES, *_OTHER_WORDS})
    return [
        *SPECIAL_TOKENS, *characters, *("##" + character for character in characters),
        *(word for word in words if len(word) > 1),
    ]


VOCABULARY = _vocabulary()
_IDS = {token: i for i, token in enumerate(VOCABULARY)}


def encode(caption):
    """The ids of a caption, all of whose words are in the vocabulary."""
    return [_IDS[word] for word in caption.split()]


def build_config():
    vision = dict(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=4, num_attention_heads=4, image_size=128,
        patch_size=PATCH, hidden_act="gelu", layer_norm_eps=1e-5, projection_dim=WIDTH, attention_dropout=0.0,
        initializer_range=.02,
    )
    text = dict(
        vocab_size=len(VOCABULARY), hidden_size=WIDTH, encoder_hidden_size=WIDTH, intermediate_size=4 * WIDTH,
        projection_dim=WIDTH, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
        hidden_act="gelu", layer_norm_eps=1e-12, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        bos_token_id=DEC, eos_token_id=SEP, sep_token_id=SEP, pad_token_id=PAD, is_decoder=True, use_cache=True,
    )
    return BlipConfig(text_config=text, vision_config=vision, projection_dim=WIDTH, image_text_hidden_size=WIDTH)
