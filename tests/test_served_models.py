"""Models that the C library runs: the same answers as TensorFlow's Python, which is not loaded for them."""

import pathlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

from recsys_tft import Recommender
from recsys_tft.errors import InputError
from recsys_tft.serving import c_library, saved_signatures, serving_rows
from recsys_tft.serving.c_library import GraphError, Session
from recsys_tft.serving.saved_signatures import DTYPES, Slot
from recsys_tft.serving.served_models import InPython, Loading
from recsys_tft.serving.serving_folders import EXPORT_AGAIN, NAMES

CALLED = [name for name in NAMES if name != "candidate_tower"]  # whose ops of texts Python registers
VALUES = {
    np.dtype(np.float32): st.sampled_from([float("nan"), 0.0, 1.5, 30.0, 86_400.0]),
    np.dtype(np.int64): st.sampled_from([-(2**63), 0, 1, 7, 30, 10**6, 1_740_000_000_000_000]),
    np.dtype(np.int32): st.integers(0, 60),
    np.dtype(object): st.sampled_from(
        [b"", b"DE", b"music", b"7", "längere Wörter, die nicht am Platz liegen".encode()]
    ),
}


@pytest.fixture(scope="module", params=["served", "served_texts"])
def folders(request: pytest.FixtureRequest) -> dict[str, pathlib.Path]:
    return {name: request.getfixturevalue(request.param) / "serving" / name / "1" for name in NAMES}


@pytest.fixture(scope="module")
def pairs(folders: dict[str, pathlib.Path]) -> dict[str, tuple[Session, InPython]]:
    sessions = Loading({name: folders[name] for name in CALLED}, EXPORT_AGAIN).models()
    assert all(isinstance(session, Session) for session in sessions.values())
    return {
        name: (session, InPython(str(folders[name]), EXPORT_AGAIN, session.signatures))
        for name, session in sessions.items()
    }


def filled(draw: st.DrawFn, slot: Slot, rows: int) -> np.ndarray:
    """Values of an input: of each row, one that holds for all, or none."""
    values = VALUES[slot.dtype]
    if slot.rank == 0:
        return np.array(draw(values), slot.dtype)
    shape = (draw(st.sampled_from([0, 1, rows])), *([3] if slot.rank == 2 else []))
    size = int(np.prod(shape))
    found = np.empty(size, slot.dtype)
    found[:] = draw(st.lists(values, min_size=size, max_size=size))
    return found.reshape(shape)


def answer(model: Session | InPython, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, Any] | str:
    """Types, shapes and bits of what a model answers, or that it refuses."""
    try:
        found = model.run(signature, inputs)
    except (GraphError, tf.errors.InvalidArgumentError):
        return "refused"
    return {
        name: (str(v.dtype), v.shape, v.tolist() if v.dtype == object else v.tobytes()) for name, v in found.items()
    }


@pytest.mark.parametrize("name", CALLED)
@pytest.mark.parametrize("signature", ["serving_default", "features"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_library_answers_as_python_to_the_last_bit(
    pairs: dict[str, tuple[Session, InPython]], name: str, signature: str, data: st.DataObject
) -> None:
    session, in_python = pairs[name]
    rows = data.draw(st.integers(1, 4), "rows")
    slots = session.signatures[signature].inputs
    inputs = {key: data.draw(st.composite(filled)(slot, rows), key) for key, slot in slots.items()}
    assert answer(session, signature, inputs) == answer(in_python, signature, inputs)


def test_examples_are_strings_that_the_library_takes(pairs: dict[str, tuple[Session, InPython]]) -> None:
    session, in_python = pairs["query_tower"]
    examples = [tf.train.Example() for _ in range(3)]
    examples[1].features.feature["country"].bytes_list.value.append(b"DE")
    inputs = {"examples": np.array([example.SerializeToString() for example in examples], object)}
    found = answer(session, "examples", inputs)
    assert found == answer(in_python, "examples", inputs) != "refused"


def test_signatures_are_those_that_python_reads(folders: dict[str, pathlib.Path]) -> None:
    for name in CALLED:
        signatures = tf.saved_model.load(str(folders[name])).signatures
        found = saved_signatures.read(str(folders[name]))
        assert set(found) == set(signatures)
        for key, signature in found.items():
            specs = signatures[key].structured_input_signature[1]
            assert {n: (s.dtype, s.rank) for n, s in signature.inputs.items()} == {
                n: (np.dtype(spec.dtype.as_numpy_dtype), spec.shape.rank) for n, spec in specs.items()
            }
            assert set(signature.outputs) == set(signatures[key].structured_outputs)


def test_dtypes_are_tensorflows() -> None:
    for number, dtype in DTYPES.items():  # a string is an object
        assert np.dtype(tf.dtypes.as_dtype(number).as_numpy_dtype) == dtype


def test_a_missing_value_is_the_same_for_both() -> None:
    from recsys_tft.serving import serving_inputs

    told = {np.dtype(dtype.as_numpy_dtype): value for dtype, value in serving_inputs.MISSING_VALUES.items()}
    told[np.dtype(object)] = told[np.dtype(object)].encode()
    np.testing.assert_equal(serving_rows._MISSING, told)


def test_the_configuration_is_what_it_says() -> None:
    found = config_pb2.ConfigProto.FromString(c_library._CONFIG)
    wanted = config_pb2.ConfigProto(
        device_count={"GPU": 0}, intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1
    )
    wanted.graph_options.rewrite_options.disable_tfg_optimizer = True
    wanted.graph_options.rewrite_options.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    assert found == wanted


def test_a_refusal_says_which_column(pairs: dict[str, tuple[Session, InPython]]) -> None:
    session, _ = pairs["query_tower"]
    slots = session.signatures["serving_default"].inputs
    inputs = serving_rows.arrays({"age": pa.array([-5])}, slots)
    with pytest.raises(GraphError, match="age needs to be"):
        session.run("serving_default", inputs)


def test_without_the_library_python_runs_the_models(served: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Recommender(str(served)).recommend(3, 5, time=0).items

    def missing() -> None:
        raise c_library.Unavailable("TensorFlow is installed without its C library")

    monkeypatch.setattr(c_library, "_library", missing)
    recommender = Recommender(str(served))
    assert {type(model) for model in recommender._models.values()} == {InPython}
    assert recommender.recommend(3, 5, time=0).items == wanted


def test_strings_of_another_memory_layout_are_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    library = c_library._library()
    monkeypatch.setattr(c_library, "_IS_VIEW", 2)
    with pytest.raises(c_library.Unavailable, match="another memory layout"):
        c_library._check_views(library)


@pytest.mark.parametrize("text", [b"", b"\xff", b"\x12\xff\xff\xff\x7f", b"\x12\x02\x2a\x09"])
def test_a_damaged_model_is_one_sentence(tmp_path: pathlib.Path, text: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(text)
    with pytest.raises(InputError, match=r"damaged or not readable \(.*\); run recsys-tft export again"):
        Loading({"ranker": tmp_path}, EXPORT_AGAIN)


def test_a_model_whose_weights_are_gone_is_one_sentence(served: pathlib.Path, tmp_path: pathlib.Path) -> None:
    graph = served / "serving" / "ranker" / "1" / "saved_model.pb"
    (tmp_path / "saved_model.pb").write_bytes(graph.read_bytes())
    with pytest.raises(InputError, match="damaged or not readable"):
        Loading({"ranker": tmp_path}, EXPORT_AGAIN).models()


def test_a_process_that_recommends_may_load_tensorflow_later(served: pathlib.Path) -> None:
    program = f"""
import sys
from recsys_tft import Recommender
recommender = Recommender({str(served)!r})
before = recommender.recommend(3, 5, time=0).items
assert "tensorflow" not in sys.modules
import tensorflow as tf
import tensorflow_text
model = tf.saved_model.load({str(served / "serving" / "ranker" / "1")!r})
assert tf.reduce_sum(tf.constant([1.0, 2.0])) == 3.0
assert tf.strings.length(tensorflow_text.normalize_utf8(["a"])) == 1
assert recommender.recommend(3, 5, time=0).items == before
assert Recommender({str(served)!r}).recommend(3, 5, time=0).items == before
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_model_with_ops_of_texts_is_run_by_python(served: pathlib.Path) -> None:
    program = f"""
import pathlib
import pyarrow as pa
from recsys_tft.serving.serving_rows import arrays
from recsys_tft.serving.served_models import InPython, Loading
folder = pathlib.Path({str(served / "serving" / "candidate_tower" / "1")!r})
model = Loading({{"candidate_tower": folder}}, "export again").models()["candidate_tower"]
assert isinstance(model, InPython)
inputs = arrays({{"title": pa.array([b"a title", None])}}, model.signatures["serving_default"].inputs)
assert len(model.run("serving_default", inputs)["vector"]) == 2
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_an_op_that_reads_a_string_up_to_its_end_finds_it(tmp_path: pathlib.Path) -> None:
    texts = [*map(str.encode, ("A Quiet Walk in the Park", "", "Ü", "ÜBER Gärten und Wörter", "Short")), b"X" * 30]
    module, spec = tf.Module(), tf.TensorSpec([None], tf.string, "text")
    lower = tf.function(lambda text: {"lower": tf.strings.lower(text, encoding="utf-8")}).get_concrete_function(spec)
    tf.saved_model.save(module, str(tmp_path), {"serving_default": lower})
    session = Session(str(tmp_path), saved_signatures.read(str(tmp_path)))
    found = session.run("serving_default", {"text": np.array(texts * 2, object)})
    assert found["lower"].tolist() == [text.decode().lower().encode() for text in texts] * 2


def test_strings_of_many_rows_arrive_whole(served_texts: pathlib.Path) -> None:
    folder = str(served_texts / "serving" / "retrieval" / "1")
    session = Session(folder, saved_signatures.read(folder))
    slots = session.signatures["serving_default"].inputs
    inputs = serving_rows.arrays({}, {key: slot for key, slot in slots.items() if key != "k"})
    for _ in range(50):
        found = session.run("serving_default", {**inputs, "user_id": np.array([b"u"] * 3, object), "k": np.int32(40)})
        assert all(isinstance(video, bytes) for video in found["video_ids"].ravel())
