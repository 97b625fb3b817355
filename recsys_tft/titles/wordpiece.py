r"""Hugging Face's uncased BERT tokenizer as TensorFlow ops: from strings to token ids inside the graph.

The steps and their order are those of `BertNormalizer`, `BertPreTokenizer` and `WordPiece` in Hugging Face's Rust
crate `tokenizers` 0.23, and give the same ids for every Unicode code point. Three things need care:

* The crate classes characters by Unicode 8, RE2 by a later version: newer characters are plain letters in the crate.
* `tf.strings.lower` follows the process's locale (I in Turkish) and the context (a final sigma); the crate doesn't.
* Special tokens that are spelled out in a text, such as `[MASK]`, are found first.

tensorflow_text's FastBertTokenizer is faster, and gives other tokens for 45 of 247 titles of 12 scripts: decision 50.

References:
    https://github.com/huggingface/tokenizers/blob/main/tokenizers/src/normalizers/bert.rs
"""

import re
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from recsys_tft.errors import InputError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 100  # characters; a longer word is unknown

# Placeholders of special tokens while the text is cleaned: private-use characters, which cleaning would remove.
_STAND_INS = tuple(chr(0xE000 + k) for k in range(len(SPECIAL)))
_PRIVATE = r"\x{E000}-\x{F8FF}\x{F0000}-\x{FFFFD}\x{100000}-\x{10FFFD}"
_CONTROL = rf"[\p{{Cc}}\p{{Cf}}\x{{FFFD}}{_PRIVATE.replace('E000', 'E005')}]"
_SPACE = r"[\t\n\r\pZ]+"
_IDEOGRAPH = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}"
    r"\x{2B920}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]"
)
_ACCENT = r"[\p{Mn}\x{1734}]+"
_PUNCTUATION = r"[!-/:-@\[-`{-~\pP\x{166D}]"
_NEWER = """
61D 7FD 890-891 898-89F 8CA-8E2 9FD-9FE A76 AFA-AFF B55 C04 C3C C77 C84 D00 D3B-D3C D81 EBA ECE 180F 1885-1886
1ABF-1ACE 1B7D-1B7E 1DF6-1DFB 2E43-2E4F 2E52-2E5D A82C A8C5 A8FF A9BD 10D24-10D27 10EAB-10EAD 10EFD-10EFF 10F46-10F50
10F55-10F59 10F82-10F89 11070 11073-11074 110C2 110CD 111CF 1123E 11241 1133B 11438-1143F 11442-11444 11446
1144B-1144F 1145A-1145B 1145D-1145E 11660-1166C 116B9 1182F-11837 11839-1183B 1193B-1193C 1193E 11943-11946 119D4-119D7
119DA-119DB 119E0 119E2 11A01-11A0A 11A33-11A38 11A3B-11A47 11A51-11A56 11A59-11A5B 11A8A-11A96 11A98-11A9C 11A9E-11AA2
11B00-11B09 11C30-11C36 11C38-11C3D 11C3F 11C41-11C45 11C70-11C71 11C92-11CA7 11CAA-11CB0 11CB2-11CB3 11CB5-11CB6
11D31-11D36 11D3A 11D3C-11D3D 11D3F-11D45 11D47 11D90-11D91 11D95 11D97 11EF3-11EF4 11EF7-11EF8 11F00-11F01 11F36-11F3A
11F40 11F42-11F4F 11FFF 12FF1-12FF2 13430-13440 13447-13455 16E97-16E9A 16F4F 16FE2 16FE4 1CF00-1CF2D 1CF30-1CF46
1E000-1E006 1E008-1E018 1E01B-1E021 1E023-1E024 1E026-1E02A 1E08F 1E130-1E136 1E2AE 1E2EC-1E2EF 1E4EC-1E4EF 1E944-1E94A
1E95E-1E95F"""  # marks, punctuation and controls since Unicode 9
_UNKNOWN_LETTER = "\U00010280"  # Lycian, in no vocabulary: any word with it is unknown


class WordPiece:
    """Maps [n] tf.string to ragged [n, (tokens)] int32: [CLS], the text's tokens, [SEP].

    Bytes that aren't UTF-8 are ignored. Texts are cut at `max_tokens`, [CLS] and [SEP] included.

    Args:
        vocabulary: the tokens in the order of their ids; `##` marks those that continue a word.
        max_tokens: at least 2.

    Raises:
        InputError: the vocabulary lacks a special token.
    """

    def __init__(self, vocabulary: Sequence[str], max_tokens: int) -> None:
        ids = {token: k for k, token in enumerate(vocabulary)}
        if missing := [token for token in SPECIAL if token not in ids]:
            raise InputError(f"The vocabulary of {len(ids)} tokens lacks {', '.join(missing)}.")
        self.max_tokens = max_tokens
        self._first, self._last = ids["[CLS]"], ids["[SEP]"]
        self._ids = [*range(len(vocabulary)), *(ids[token] for token in SPECIAL)]
        self._pieces = tf_text.FastWordpieceTokenizer(
            [*vocabulary, *_STAND_INS],
            max_bytes_per_word=4 * LONGEST_WORD,
            unknown_token="[UNK]",
            no_pretokenization=True,
        )

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        words = tf.strings.split(normalised(texts))
        length = tf.strings.length(words.flat_values, "UTF8_CHAR")
        words = words.with_flat_values(tf.where(length > LONGEST_WORD, "[UNK]", words.flat_values))
        pieces = self._pieces.tokenize(words).merge_dims(1, 2)[:, : self.max_tokens - 2]
        tokens = pieces.with_flat_values(tf.gather(tf.constant(self._ids, tf.int32), pieces.flat_values))
        edge = tf.ones([tf.shape(texts)[0], 1], tf.int32)
        return tf.concat([edge * self._first, tokens, edge * self._last], axis=1)


def normalised(texts: tf.Tensor) -> tf.Tensor:
    """[n] tf.string of any bytes to [n] tf.string of words between spaces: lower case, without accents and controls."""
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
    for pattern, rewrite in _before_decomposition():
        texts = tf.strings.regex_replace(texts, pattern, rewrite)
    texts = tf_text.normalize_utf8(texts, "NFD")
    for pattern, rewrite in ((_ACCENT, ""), ("I", "i"), ("Σ", "\u03c3")):
        texts = tf.strings.regex_replace(texts, pattern, rewrite)
    return tf.strings.regex_replace(tf.strings.lower(texts, "utf-8"), _PUNCTUATION, r" \0 ")


def _before_decomposition() -> list[tuple[str, str]]:
    """(pattern, rewrite) in order."""
    spelled = [(re.escape(token), f" {char} ") for token, char in zip(SPECIAL, _STAND_INS, strict=True)]
    newer = "".join(f"\\x{{{code}}}" for code in _NEWER.split()).replace("-", r"}-\x{")
    return [
        (f"[{_PRIVATE}]", "\uf8ff"),  # kept until special tokens are found, as it may interrupt one
        *spelled,
        (f"[{newer}]", _UNKNOWN_LETTER),
        (r"\x{111C9}", "\u166d"),  # both were punctuation in Unicode 8; now a mark and a symbol
        (_SPACE, " "),
        (_CONTROL, ""),
        (_IDEOGRAPH, r" \0 "),
    ]
