"""Titles per second of the title encoder against ONNX Runtime on the same weights, titles and thread, in one process.

    pip install 'recsys_tft[bench]'
    python -m bench.reference_titles --onnx minilm.onnx     (see there; in an environment with torch)
    python -m bench.encoder --onnx minilm.onnx [--titles FILE.parquet] [--threads 1]

Everybody gets strings and returns vectors. ONNX Runtime's titles are tokenized by Hugging Face's tokenizers and sorted
by length, so that its batches hold little padding: in characters, as sentence-transformers does, and in tokens, which
leaves no padding but needs each title tokenized before. Ours come as they are. Without --onnx, only ours run.
The runs alternate, and each figure is the best of its rounds by CPU time, which other processes disturb less than they
do the clock; with one thread the two agree on a quiet machine.
"""

import argparse
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from recsys_tft.tables.synthetic import write_tables
from recsys_tft.titles import bert, minilm

INSTALL = "pip install 'recsys_tft[bench]'"
ROUNDS, FIXED_TOKENS = 4, 128
ONNX = "ONNX Runtime float32"
SORTED = f"{ONNX}, by characters"
Encoder = Callable[[Sequence[str]], np.ndarray]


def synthetic_titles(count: int) -> list[str]:
    """Of videos of twelve languages."""
    with tempfile.TemporaryDirectory() as folder:
        write_tables(folder, users=10, videos=2 * count, interactions=10)
        return titles_of(f"{folder}/videos.parquet", count)


def titles_of(path: str, count: int) -> list[str]:
    """The first titles of a table of videos."""
    return [title for title in pq.read_table(path, columns=["title"])["title"].to_pylist() if title][:count]


def ours(model: bert.Bert) -> Encoder:
    return lambda titles: model(tf.constant(titles)).numpy()


def frozen(model: bert.Bert) -> Encoder:
    """With its variables as constants, as in a serving graph."""
    function = convert_variables_to_constants_v2(model.__call__.get_concrete_function())
    return lambda titles: function(tf.constant(titles))[0].numpy()


def onnx(path: str, threads: int, length: int | None = None) -> Encoder:
    """ONNX Runtime, padded to the batch's longest title, or to a fixed length."""
    import onnxruntime
    import tokenizers

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    tokenizer = tokenizers.Tokenizer.from_file(str(minilm.weights_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(length or 256)
    tokenizer.enable_padding(length=length)

    def run(titles: Sequence[str]) -> np.ndarray:
        encoded = tokenizer.encode_batch(titles)
        ids, mask = (np.array([getattr(title, part) for title in encoded]) for part in ("ids", "attention_mask"))
        return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    return run


def fixed(model: bert.Bert) -> Encoder:
    """Our own layers over FIXED_TOKENS tokens a title, as a graph without packing computes them."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def run(titles: tf.Tensor) -> tf.Tensor:
        tokens = model.tokenizer(titles)
        return model.encode(tf.RaggedTensor.from_tensor(tokens.to_tensor(shape=[None, FIXED_TOKENS])))

    return lambda titles: run(tf.constant(titles)).numpy()


def rates(runs: dict[str, tuple[Encoder, list[str]]], batch: int) -> dict[str, float]:
    """Titles per second of CPU time of each encoder over its titles, in batches."""
    best = dict.fromkeys(runs, 0.0)
    for name, (encoder, titles) in ROUNDS * list(runs.items()):
        start = time.process_time()
        for k in range(0, len(titles), batch):
            encoder(titles[k : k + batch])
        best[name] = max(best[name], len(titles) / (time.process_time() - start))
    return best


def report(title: str, found: dict[str, float], against: str) -> None:
    print(f"\n{title}")
    for name, rate in found.items():
        ratio = f"{rate / found[against]:6.2f} of {against}" if against in found else ""
        print(f"  {name:36} {rate:9.1f} titles/s {ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx", help="the graph that bench.reference_titles exports")
    parser.add_argument("--titles", help="Parquet file with a column title, else synthetic ones")
    parser.add_argument("--count", type=int, default=512, help="how many titles")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if options.onnx and not all(map(importlib.util.find_spec, ("onnxruntime", "tokenizers"))):
        parser.exit(2, f"--onnx needs two more packages: {INSTALL}\n")
    titles = titles_of(options.titles, options.count) if options.titles else synthetic_titles(options.count)
    run(titles, options.onnx, options.threads)


def run(titles: list[str], path: str | None, threads: int) -> None:
    """Measures and prints."""
    full, half = (bert.read(minilm.weights_folder(), precision) for precision in ("float32", "bfloat16"))
    tokens = full.tokenizer(tf.constant(titles)).row_lengths().numpy()
    print(f"{len(titles)} titles, {tokens.mean():.1f} tokens on average, at most {tokens.max()}; {threads} thread(s)")
    mixed = {"ours float32": (ours(full), titles), "ours bfloat16": (ours(half), titles)}
    single = {"ours float32, frozen": (frozen(full), titles[:256])}
    single |= {name: (encoder, titles[:256]) for name, (encoder, _) in mixed.items()}
    padded = {"ours float32, 128 tokens": (fixed(full), titles[:64])}
    if path:
        theirs = onnx(path, threads)
        by_tokens = [titles[k] for k in np.argsort(tokens, kind="stable")]
        mixed |= {SORTED: (theirs, sorted(titles, key=len)), f"{ONNX}, by tokens": (theirs, by_tokens)}
        mixed[f"{ONNX}, as they come"] = theirs, titles
        single[ONNX] = theirs, titles[:256]
        padded[f"{ONNX}, 128 tokens"] = onnx(path, threads, FIXED_TOKENS), titles[:64]
    report("batch 32", rates(mixed | padded, 32), SORTED)
    report("batch 256", rates(mixed, 256), SORTED)
    report("batch 1, as in serving", rates(single, 1), ONNX)
    compare(titles, ours(full), ours(half), theirs if path else None)


def compare(titles: list[str], full: Encoder, half: Encoder, theirs: Encoder | None) -> None:
    """Prints by how much their vectors differ."""
    exact, rounded = (np.concatenate([encoder(titles[k::8]) for k in range(8)]) for encoder in (full, half))
    cosine = np.sum(exact * rounded, axis=1)
    print(f"\nbfloat16 against float32: cosine {cosine.min():.5f} at least, {cosine.mean():.6f} on average")
    if theirs:
        vectors = np.concatenate([theirs(titles[k::8]) for k in range(8)])
        print(f"ours against ONNX Runtime: largest difference {np.abs(exact - vectors).max():.1e}")


if __name__ == "__main__":
    main()
