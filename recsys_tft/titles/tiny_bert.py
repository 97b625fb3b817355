"""A small BERT with random weights, for tests and dry runs: it loads at once, and its vectors mean nothing."""

import numpy as np

from recsys_tft.titles.bert import Bert, BertShape, Precision
from recsys_tft.titles.wordpiece import SPECIAL

TINY = BertShape(width=32, layers=2, heads=4, hidden=64, max_tokens=64)


def tiny(seed: int = 0, precision: Precision = "float32", shape: BertShape = TINY) -> Bert:
    """The encoder; its vocabulary is the printable ASCII characters, all other words are unknown."""
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    vocabulary = [*SPECIAL, *characters, *(f"##{character}" for character in characters if character.isalnum())]
    return Bert(shape, random_weights(shape, len(vocabulary), np.random.default_rng(seed)), vocabulary, precision)


def random_weights(shape: BertShape, tokens: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights by Hugging Face's names; large enough that different titles get different vectors."""
    w, h = shape.width, shape.hidden
    sizes = {"word": tokens, "position": shape.max_tokens, "token_type": 2}
    shapes: dict[str, tuple[int, ...]] = {
        f"embeddings.{name}_embeddings.weight": (size, w) for name, size in sizes.items()
    }
    norms = ["embeddings.LayerNorm"]
    dense: dict[str, tuple[int, int]] = {}
    for layer in (f"encoder.layer.{k}" for k in range(shape.layers)):
        dense |= {f"{layer}.attention.self.{part}": (w, w) for part in ("query", "key", "value")}
        dense |= {f"{layer}.attention.output.dense": (w, w)}
        dense |= {f"{layer}.intermediate.dense": (h, w), f"{layer}.output.dense": (w, h)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    shapes |= {f"{name}.weight": size for name, size in dense.items()}
    shapes |= {f"{name}.bias": size[:1] for name, size in dense.items()} | {f"{name}.bias": (w,) for name in norms}
    weights = {name: rng.normal(0, 0.3, size).astype(np.float32) for name, size in shapes.items()}
    return weights | {f"{name}.weight": np.ones(w, np.float32) for name in norms}
