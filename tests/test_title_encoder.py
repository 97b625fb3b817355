"""What the settings' title_encoder may name, and what happens when it cannot be had."""

import functools
import pathlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.ops import Fitting
from recsys_tft.titles import encoder_spec, frozen_encoder, title_encoder
from recsys_tft.titles.bert import Bert
from recsys_tft.titles.encoder_spec import Pair
from recsys_tft.titles.frozen_encoder import FrozenEncoder
from recsys_tft.titles.text_embedding import TextEmbedding
from recsys_tft.titles.tiny_bert import TINY, tiny

TITLES = ["toy story", "", "the matrix", "a " * 100, "x"]


class Preprocessor(tf.Module):
    """Of TensorFlow Hub's BERT form: an id is the length of a word, and padding is 0."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, titles: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = tf.strings.length(tf.strings.split(tf.strings.join(["w ", titles]))).to_tensor()
        mask = tf.cast(ids > 0, tf.int32)
        return {"input_word_ids": ids, "input_mask": mask, "input_type_ids": tf.zeros_like(ids)}


class Encoder(tf.Module):
    """Of TensorFlow Hub's BERT form: a token's vector is (id, 1), and in training all is NaN."""

    @tf.function
    def __call__(self, inputs: dict[str, tf.Tensor], training: bool | None = None) -> dict[str, tf.Tensor]:
        ids = tf.cast(inputs["input_word_ids"], tf.float32) * (float("nan") if training else 1.0)
        states = tf.stack([ids, tf.ones_like(ids)], axis=2)
        return {"pooled_output": -states[:, 0], "sequence_output": states}


class PlainEncoder(tf.Module):
    """Of the same form, but it knows no training: a token's vector is (position, 1), pooled is (tokens, 0)."""

    KEYS = ("input_word_ids", "input_mask", "input_type_ids")

    @tf.function(input_signature=[{key: tf.TensorSpec([None, None], tf.int32) for key in KEYS}])
    def __call__(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        mask = tf.cast(inputs["input_mask"], tf.float32)
        places, total = tf.cumsum(tf.ones_like(mask), axis=1, exclusive=True), tf.reduce_sum(mask, axis=1)
        states = tf.stack([places, tf.ones_like(places)], axis=2)
        return {"sequence_output": states, "pooled_output": tf.stack([total, tf.zeros_like(total)], axis=1)}


class Signature(tf.Module):
    """Without a `__call__`."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def lengths(self, titles: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"vectors": tf.cast(tf.strings.length(titles), tf.float64)[:, tf.newaxis] * [1.0, 2.0, 3.0]}


class Function(tf.Module):
    """Any function of strings."""

    def __init__(self, function: Callable[[tf.Tensor], object]) -> None:
        super().__init__()
        self.function = function
        self.__call__ = tf.function(function, input_signature=[tf.TensorSpec([None], tf.string)])


class Weights(tf.Module):
    """A vector for each length."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = tf.Variable(tf.random.stateless_normal([300, 2], (0, 0)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, titles: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.vectors, tf.strings.length(titles))


def saved(module: tf.Module, folder: pathlib.Path) -> str:
    signatures = module.lengths if isinstance(module, Signature) else None
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_bert() -> Bert:
    """Which is traced once."""
    return tiny()


@pytest.fixture(scope="session")
def tiny_path(tiny_bert: Bert, tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tiny_bert, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder, encoder = tmp_path_factory.mktemp("pair"), Encoder()
    ids = {name: tf.TensorSpec([None, None], tf.int32) for name in ("input_word_ids", "input_mask", "input_type_ids")}
    for training in (False, True):
        encoder.__call__.get_concrete_function(ids, training=training)
    return saved(Preprocessor(), folder / "preprocessor"), saved(encoder, folder / "encoder")


def test_a_saved_model_maps_titles_to_vectors(tiny_bert: Bert, tiny_path: str) -> None:
    loaded = title_encoder.load(tiny_path)
    assert loaded.width == title_encoder.width(tiny_path) == TINY.width
    np.testing.assert_allclose(loaded(tf.constant(TITLES)), tiny_bert(tf.constant(TITLES)), rtol=0, atol=1e-6)
    assert loaded.vectors([]).shape == (0, TINY.width)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_binary()])
def test_encode_keeps_the_order_of_the_titles(tiny_bert: Bert, tiny_path: str, kind: pa.DataType) -> None:
    titles = [f"{word} {k}" * (k % 7) for k in range(20) for word in ("toy", "story")]
    vectors = title_encoder.encode(tiny_path, pa.array(titles, kind), batch_size=8)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, tiny_bert(tf.constant(titles)), rtol=0, atol=1e-6)
    assert title_encoder.encode(tiny_path, pa.array([], kind)).shape == (0, TINY.width)


def test_other_threads_may_use_an_encoder_that_was_loaded_here(tiny_path: str, pair: tuple[str, str]) -> None:
    for spec in (tiny_path, Pair(*pair)):
        loaded, found = title_encoder.load(spec), []
        use = functools.partial(lambda encoder, into: into.append(encoder.vectors(TITLES)), loaded, found)
        thread = threading.Thread(target=use, daemon=True)
        thread.start()
        thread.join(60)
        assert len(found) == 1, f"{spec} is locked"


def test_encode_bounds_the_attention_of_a_batch(tiny_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, loaded = [], title_encoder.load(tiny_path)
    monkeypatch.setattr(type(loaded), "vectors", lambda self, titles: sizes.append(len(titles)) or np.zeros((1, 32)))
    title_encoder.encode(tiny_path, pa.array(["x" * 5000] * 100 + ["y"] * 300))
    assert sizes == [256, 64, 64, 16]


def test_a_model_with_one_signature_and_one_output_will_do(tmp_path: pathlib.Path) -> None:
    loaded = title_encoder.load(saved(Signature(), tmp_path / "model"))
    np.testing.assert_array_equal(loaded.vectors(["ab", ""]), [[2, 4, 6], [0, 0, 0]])
    assert loaded.width == 3


def test_a_pair_gives_its_pooled_output(pair: tuple[str, str]) -> None:
    vectors = title_encoder.encode(Pair(*pair), pa.array(["four", "four by fours"]))
    np.testing.assert_array_equal(vectors, [[-1, -1], [-1, -1]])


def test_a_pair_gives_the_mean_over_its_tokens(pair: tuple[str, str]) -> None:
    loaded = title_encoder.load({"preprocessor": pair[0], "encoder": pair[1], "pooling": "mean"})
    np.testing.assert_allclose(
        loaded.vectors(["four", "four by fours", ""]), [[2.5, 1], [3, 1], [1, 1]], rtol=0, atol=1e-6
    )
    assert loaded.width == 2


@pytest.mark.parametrize(("pooling", "expected"), [("pooled_output", [[4, 0], [2, 0]]), ("mean", [[1.5, 1], [0.5, 1]])])
def test_an_encoder_that_knows_no_training_is_pooled_as_asked(
    pair: tuple[str, str], tmp_path: pathlib.Path, pooling: str, expected: list[list[float]]
) -> None:
    spec = Pair(pair[0], saved(PlainEncoder(), tmp_path / "encoder"), pooling)
    assert title_encoder.width(spec) == 2
    np.testing.assert_allclose(title_encoder.encode(spec, pa.array(["a b c", "a"])), expected, rtol=0, atol=1e-6)


def test_a_pair_the_wrong_way_round_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=r"could not load"):
        title_encoder.load(Pair(pair[1], pair[0]))


@pytest.mark.parametrize(
    "value",
    ["", None, 3, {}, {"preprocessor": "a"}, {"preprocessor": "a", "encoder": "b", "pool": "mean"}],
)
def test_a_value_of_no_known_form_is_refused(value: object) -> None:
    with pytest.raises(
        InputError, match=r"title_encoder is .*; expected minilm, multilingual, none, a handle or path, or"
    ):
        encoder_spec.parse(value)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(InputError, match=r"pooling is 'means'\. Did you mean 'mean'"):
        encoder_spec.parse({"preprocessor": "a", "encoder": "b", "pooling": "means"})


@pytest.mark.parametrize("handle", ["https://localhost:9/bert/1", "/no/such/folder", "bert/1"])
@pytest.mark.parametrize("use", [title_encoder.load, title_encoder.fingerprint, title_encoder.width])
def test_a_handle_that_cannot_be_loaded_is_one_sentence(handle: str, use: Callable[[str], object]) -> None:
    with pytest.raises(InputError, match=r"^title_encoder: could not load .*; to use a local copy, ") as caught:
        use(handle)
    assert handle in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("absent", ["pkg_resources", "tensorflow_hub"])
def test_only_what_has_to_be_downloaded_needs_tensorflow_hub(
    tiny_path: str, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow_hub", raising=False)
    monkeypatch.setitem(sys.modules, absent, None)  # as with setuptools 82, and in an environment without the package
    title_encoder._files_fingerprint.cache_clear()
    assert title_encoder.load(tiny_path).width == TINY.width
    assert title_encoder.fingerprint(tiny_path)
    for use in (title_encoder.load, title_encoder.fingerprint):
        for handle in ("https://localhost:9/bert/1", "gs://models/bert.tar.gz"):
            with pytest.raises(InputError) as caught:
                use(handle)
            said = str(caught.value)
            assert said.startswith(f"title_encoder: {handle} is downloaded by tensorflow_hub, which cannot be imported")
            assert absent in said
            assert "run `pip install 'tensorflow-hub>=0.16,<0.17' 'setuptools<82'`, or name the folder" in said


def test_a_module_of_tensorflow_1_loads_without_tags(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "module"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        titles = tf.compat.v1.placeholder(tf.string, [None])
        vectors = tf.cast(tf.strings.length(titles), tf.float32)[:, tf.newaxis]
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        signature = tf.compat.v1.saved_model.predict_signature_def({"text": titles}, {"default": vectors})
        builder.add_meta_graph_and_variables(session, [], {"default": signature})
        builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")  # what TensorFlow Hub's format 3 has there
    np.testing.assert_array_equal(title_encoder.load(str(folder)).vectors(["ab", ""]), [[2], [0]])


@pytest.mark.parametrize("file", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_damaged_model_is_one_sentence(tiny_path: str, tmp_path: pathlib.Path, file: str) -> None:
    copy = pathlib.Path(shutil.copytree(tiny_path, tmp_path / "copy"))
    (copy / file).write_bytes(b"\x00damaged")
    with pytest.raises(InputError, match=r"could not load .*copy \("):
        title_encoder.load(str(copy))


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda titles: titles, r"string \(1,\)"),
        (lambda titles: tf.strings.length(titles)[:, tf.newaxis], r"int32 \(1, 1\)"),
        (lambda titles: tf.zeros([tf.size(titles)]), r"float32 \(1,\)"),
        (lambda titles: {"a": titles, "b": titles}, "a dict of a, b"),
    ],
)
def test_a_model_that_makes_no_vectors_is_refused(tmp_path: pathlib.Path, function: Callable, found: str) -> None:
    with pytest.raises(InputError, match=f"it maps strings to {found}, not to .batch, width. floats"):
        title_encoder.load(saved(Function(function), tmp_path / "model"))


def test_a_model_of_numbers_is_refused(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    module.__call__ = tf.function(lambda x: x, input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    with pytest.raises(InputError, match=r"could not load"):
        title_encoder.load(saved(module, tmp_path / "model"))


@pytest.mark.parametrize("too_large", [False, True])
def test_a_frozen_encoder_has_constants_for_variables_unless_they_are_too_large(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, too_large: bool
) -> None:
    monkeypatch.setattr(frozen_encoder, "MOST_BYTES", 300 * 2 * 4 - too_large)
    loaded = title_encoder.load(saved(Weights(), tmp_path / "model"))
    path = saved(Function(FrozenEncoder(loaded)), tmp_path / "frozen")
    np.testing.assert_array_equal(title_encoder.load(path).vectors(TITLES), loaded.vectors(TITLES))
    assert any(shape for _, shape in tf.train.list_variables(f"{path}/variables/variables")) == too_large


def test_a_frozen_encoder_keeps_its_tables(tiny_path: str, tmp_path: pathlib.Path) -> None:
    loaded = title_encoder.load(tiny_path)
    again = title_encoder.load(saved(Function(FrozenEncoder(loaded)), tmp_path / "again"))
    np.testing.assert_allclose(again.vectors(TITLES), loaded.vectors(TITLES), rtol=0, atol=1e-6)


def test_the_op_loads_no_encoder_beside_the_one_that_it_is_given(tiny_path: str, tmp_path: pathlib.Path) -> None:
    settings, encoder = Settings(title_encoder=tiny_path), title_encoder.load(tiny_path)
    op = TextEmbedding()

    def embed(titles: tf.Tensor) -> tf.Tensor:
        column = tf.RaggedTensor.from_tensor(titles[:, tf.newaxis]).to_sparse()
        return op.apply("title_embedding", [column], Fitting(settings, {"title_embedding": encoder}))

    title_encoder._loaded.cache_clear()  # as in a new process
    module = Function(embed)
    module.encoder = encoder
    again = title_encoder.load(saved(module, tmp_path / "model"))  # which refuses weights of any other encoder
    np.testing.assert_allclose(again.vectors(TITLES), encoder.vectors(TITLES), rtol=0, atol=1e-6)


def test_none_encodes_nothing() -> None:
    assert title_encoder.resolve("none") == "none"
    assert title_encoder.fingerprint("none") != title_encoder.fingerprint("minilm")
    with pytest.raises(InputError, match="title_encoder is none"):
        title_encoder.load("none")


def test_the_fingerprint_is_of_the_files(tiny_path: str, pair: tuple[str, str], tmp_path: pathlib.Path) -> None:
    copy = shutil.copytree(tiny_path, tmp_path / "copy")
    changed = pathlib.Path(shutil.copytree(tiny_path, tmp_path / "changed"))
    (changed / "assets" / "more.txt").write_text("x")
    pairs = [Pair(*pair), Pair(*pair, "mean"), Pair(pair[1], pair[0])]
    fingerprints = [title_encoder.fingerprint(spec) for spec in (tiny_path, str(copy), str(changed), *pairs)]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 5


def test_importing_the_settings_side_does_not_import_tensorflow() -> None:
    imports = "from recsys_tft.titles import embedding_cache, title_encoder"
    code = f"import sys; {imports}; print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


# The export of the default encoder, on a package of the same layout with tiny random weights.
