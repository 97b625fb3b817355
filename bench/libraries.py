"""Our own implementations compared with libraries that do the same: decision 50.

python -m bench.libraries
"""

import pathlib
import time
from collections.abc import Callable, Mapping

import numpy as np
import safetensors.numpy
import tensorflow as tf
import tensorflow_text as tf_text
from scipy import stats

from recsys_tft.titles import minilm
from recsys_tft.titles.safetensors import read_safetensors
from recsys_tft.titles.wordpiece import WordPiece
from recsys_tft.training import bootstrap

TITLES = pathlib.Path(__file__).parents[1] / "tests/data/minilm_golden.npz"
TURNS, MANY = 3, 20_000


def least(functions: Mapping[str, Callable[[], object]]) -> None:
    """Prints the least CPU seconds of each, called in turn."""
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(TURNS):
        for name, function in functions.items():
            began = time.process_time()
            function()
            found[name].append(time.process_time() - began)
    print(", ".join(f"{name} {min(seconds):.3f} s" for name, seconds in found.items()))


def tokenizer() -> None:
    """Titles whose tokens differ, and the time for many."""
    golden = np.load(TITLES)
    text, ends = golden["titles"].tobytes(), golden["ends"].tolist()
    titles = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    vocabulary = (minilm.weights_folder() / "vocab.txt").read_text("utf-8").splitlines()
    ours = WordPiece(vocabulary, 256)
    fast = tf_text.FastBertTokenizer(vocabulary, token_out_type=tf.int32, lower_case_nfd_strip_accents=True)
    one = [row[1:-1] for row in ours(tf.constant(titles)).to_list()]
    other = [row[:254] for row in fast.tokenize(tf.constant(titles)).to_list()]
    print(
        f"FastBertTokenizer: other tokens for {sum(a != b for a, b in zip(one, other, strict=True))} of {len(titles)}"
    )
    many = tf.constant((titles * (MANY // len(titles) + 1))[:MANY])
    least({"ours": lambda: ours(many), "FastBertTokenizer": lambda: fast.tokenize(many)})


def weights() -> None:
    """The arrays of MiniLM."""
    file = minilm.weights_folder() / "model.safetensors"
    least({"ours": lambda: read_safetensors(file), "safetensors": lambda: safetensors.numpy.load_file(file)})


def intervals(users: int) -> None:
    """The interval of a ratio over users."""
    random = np.random.default_rng(0)
    below = random.integers(1, 30, users).astype(float)
    above = below * random.random(users)

    def library() -> object:
        return stats.bootstrap(
            (above, below), lambda a, b, axis=-1: a.sum(axis=axis) / b.sum(axis=axis), paired=True, vectorized=True,
            n_resamples=1000, method="percentile", rng=np.random.default_rng(0), batch=max(1, (1 << 22) // users),
        )  # fmt: skip

    print(f"{users:,} users")
    least({"ours": lambda: bootstrap.ratio(above, below), "scipy": library})


if __name__ == "__main__":
    tokenizer()
    weights()
    intervals(943)
    intervals(50_000)
