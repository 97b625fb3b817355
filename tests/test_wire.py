"""The exported models as TensorFlow Serving and a program in C ask them: requests as docs/serving.md shows them."""

import json
import pathlib
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from loaded_graphs import recommender_of
from model_server import ModelServer
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from recsys_tft import Recommender
from recsys_tft.recommending import ranker_inputs
from recsys_tft.serving import saved_signatures
from recsys_tft.serving.serving_rows import arrays
from recsys_tft.statistics import EMPTY_IDS

DOCS = pathlib.Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "serving.md").read_text()
NAMES = ("query_tower", "retrieval", "ranker", "candidate_tower")
MOMENT = 1_740_000_000_000_000


@pytest.fixture(scope="module")
def server(served: pathlib.Path) -> Iterator[ModelServer]:
    with ModelServer(served / "serving", *NAMES) as running:
        yield running


@pytest.fixture(scope="module")
def recommender(served: pathlib.Path) -> Recommender:
    return recommender_of(served)


@pytest.fixture(scope="module")
def given(recommender: Recommender, server: ModelServer) -> dict[str, dict[str, np.ndarray]]:
    """Inputs of each model: three users, and one of them with 50 videos."""
    known = [recommender.known(recommender.request(user, MOMENT)) for user in (3, 4, None)]
    ranked = recommender._models["ranker"].signatures["serving_default"].inputs
    videos = recommender.candidates(recommender.store.video_ids[:50], MOMENT)
    own = recommender._models["query_tower"].signatures["serving_default"].inputs
    one = {name: np.asarray(values) for name, values in arrays(known[0], own).items()}
    of_videos = server.models["candidate_tower"].signatures["serving_default"].inputs
    stored = recommender.store.videos(recommender.store.video_ids[:50])
    rows = dict(zip(stored.column_names, stored.columns, strict=True))
    return {
        "candidate_tower": {name: np.asarray(values) for name, values in arrays(rows, of_videos).items()},
        "query_tower": one,
        "retrieval": {**one, "k": np.int32(20), "exclude": np.array([[7, 9]])},
        "ranker": {n: np.asarray(v) for n, v in ranker_inputs.build_inputs(known[:1], [videos], ranked).items()},
    }


def rest(server: ModelServer, name: str, body: dict[str, Any]) -> Any:
    """The answer of the REST interface, of an error its sentence."""
    request = urllib.request.Request(f"{server.rest}/v1/models/{name}:predict", json.dumps(body).encode())
    try:
        return json.loads(urllib.request.urlopen(request).read())
    except urllib.error.HTTPError as error:
        return json.loads(error.read())["error"]


def over_grpc(server: ModelServer, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    for key, values in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
    with grpc.insecure_channel(server.grpc) as channel:
        answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
    return {key: tf.make_ndarray(value) for key, value in answer.outputs.items()}


def as_json(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Inputs as JSON has them, where NaN is no number: a missing float is a row of its own in none of ours."""
    return {key: plain(np.asarray(value).tolist()) for key, value in inputs.items()}


def plain(value: Any) -> Any:
    """Nested lists with text in the place of bytes."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


def as_rows(inputs: dict[str, np.ndarray], dtypes: dict[str, Any]) -> list[dict[str, Any]]:
    """The same in the row format: what one row says for all is said by each, and so is what is missing."""
    size = max(len(values) for values in inputs.values() if values.ndim and values.size)
    columns = {}
    for key, values in inputs.items():
        missing = {np.dtype(object): "", np.dtype(np.float32): float("nan")}.get(dtypes[key].dtype, EMPTY_IDS)
        one = [missing] if dtypes[key].rank == 1 else [[]]
        column = as_json({key: values})[key] if values.size else one
        column = column if isinstance(column, list) else [column]
        columns[key] = column * size if len(column) == 1 else column
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("name", NAMES)
def test_both_interfaces_answer_as_python_does(
    server: ModelServer, served: pathlib.Path, given: dict[str, dict[str, np.ndarray]], name: str
) -> None:
    call = tf.saved_model.load(str(served / "serving" / name / "1")).signatures["serving_default"]
    specs = call.structured_input_signature[1]
    expected = call(**{key: tf.constant(value, specs[key].dtype) for key, value in given[name].items()})
    found = over_grpc(server, name, given[name])
    answer = rest(server, name, {"inputs": as_json(given[name])})["outputs"]
    for key, values in expected.items():
        np.testing.assert_array_equal(found[key], values.numpy())
        of_rest = answer[key] if len(expected) > 1 else answer
        np.testing.assert_array_equal(np.array(of_rest, values.numpy().dtype), values.numpy())


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_answered_as_columns(server: ModelServer, given: dict[str, dict[str, np.ndarray]], name: str) -> None:
    slots = server.models[name].signatures["serving_default"].inputs
    inputs = given[name]
    if name in ("query_tower", "retrieval"):  # of several users
        inputs = {key: np.concatenate([v, v[::-1]]) if v.size and v.ndim else v for key, v in inputs.items()}
    rows = as_rows(inputs, slots)
    assert {set(slots) == set(row) for row in rows} == {True}
    expected = rest(server, name, {"inputs": as_json(inputs)})["outputs"]
    found = rest(server, name, {"instances": rows})["predictions"]
    if name == "retrieval":
        found = {key: [row[key] for row in found] for key in expected}
    assert found == expected
    del rows[0][min(slots)]
    assert "keys must be equal to" in rest(server, name, {"instances": rows})


def test_rows_of_a_request_may_ask_for_different_numbers_of_videos(
    server: ModelServer, given: dict[str, dict[str, np.ndarray]]
) -> None:
    slots = server.models["retrieval"].signatures["serving_default"].inputs
    (row,) = as_rows(given["retrieval"], slots)
    found = rest(server, "retrieval", {"instances": [{**row, "k": k} for k in (3, 5)]})["predictions"]
    assert found[0]["video_ids"] == [*found[1]["video_ids"][:3], EMPTY_IDS, EMPTY_IDS]
    assert found[0]["scores"][3:] == [-np.inf, -np.inf]
    wrong = {**as_json(given["retrieval"]), "k": [1, 2, 3]}
    assert "k needs one number, or [batch]" in rest(server, "retrieval", {"inputs": wrong})


@pytest.mark.parametrize("name", ["query_tower", "retrieval"])
def test_an_empty_list_is_a_missing_column_and_so_is_one_that_is_left_out(
    server: ModelServer, given: dict[str, dict[str, np.ndarray]], name: str
) -> None:
    inputs = {key: value for key, value in given[name].items() if key != "k"}
    k = {"k": given[name]["k"]} if name == "retrieval" else {}
    for left_out, values in inputs.items():
        missing = np.full(values.shape, "" if values.dtype == object else EMPTY_IDS, values.dtype)
        expected = over_grpc(server, name, {**inputs, **k, left_out: missing})
        for empty in ([], [[]]) if values.ndim == 2 else ([],):
            of_grpc = over_grpc(server, name, {**inputs, **k, left_out: np.array(empty, values.dtype)})
            of_rest = rest(server, name, {"inputs": {**as_json({**inputs, **k}), left_out: empty}})
            for key, found in expected.items():
                np.testing.assert_array_equal(of_grpc[key], found)
                own = of_rest["outputs"] if len(expected) == 1 else of_rest["outputs"][key]
                np.testing.assert_array_equal(np.array(own, found.dtype), found)
        without = {key: value for key, value in {**inputs, **k}.items() if key != left_out}
        for key, found in over_grpc(server, name, without).items():
            np.testing.assert_array_equal(found, expected[key])
        assert left_out in rest(server, name, {"inputs": as_json(without)})
    lists = {key: [] for key, values in inputs.items() if values.ndim == 2}
    assert "outputs" in rest(server, name, {"inputs": {**as_json({**inputs, **k}), **lists}})
    with pytest.raises(grpc.RpcError, match="typo") as error:
        over_grpc(server, name, {**inputs, **k, "typo": np.array([1])})
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_how_many_videos_are_found_is_a_setting_where_a_request_does_not_say(
    server: ModelServer, recommender: Recommender, given: dict[str, dict[str, np.ndarray]]
) -> None:
    found = over_grpc(server, "retrieval", given["query_tower"])
    wanted = over_grpc(server, "retrieval", {**given["query_tower"], "k": np.int32(recommender.settings.candidates)})
    np.testing.assert_array_equal(found["video_ids"], wanted["video_ids"])


def test_the_requests_of_the_page_are_answered(server: ModelServer, recommender: Recommender) -> None:
    (columns,) = re.findall(r"curl -d '(\{.*?\})' \\\n", PAGE, re.DOTALL)
    found = rest(server, "retrieval", json.loads(columns))["outputs"]
    assert len(found["video_ids"][0]) == 100
    assert not {17, 23} & set(found["video_ids"][0])
    for model, rows in re.findall(r'models/(\w+):predict`.*?(\{"instances".*?\]\})\n', PAGE, re.DOTALL):
        assert len(rest(server, model, json.loads(rows))["predictions"]) == 2
    (program,) = re.findall(r"```python\n(import grpc\n.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program.replace("localhost:8500", server.grpc), names)
    np.testing.assert_array_equal(names["scores"], found["scores"])


def test_a_value_that_a_run_rejects_is_an_error_that_names_its_column(
    server: ModelServer, given: dict[str, dict[str, np.ndarray]]
) -> None:
    wrong = {**given["query_tower"], "age": np.array([-5])}
    assert "age needs to be at least 0" in rest(server, "query_tower", {"inputs": as_json(wrong)})
    with pytest.raises(grpc.RpcError, match="age needs to be at least 0"):
        over_grpc(server, "query_tower", wrong)


# --- A program in C


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """docs/score.c, compiled as its first lines say."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    source, path = DOCS / "score.c", tmp_path_factory.mktemp("c") / "score"
    folder = pathlib.Path(tf.__file__).parent
    (command,) = re.findall(r"(gcc .*? -l:libtensorflow_framework\S*)", source.read_text(), re.DOTALL)
    command = command.replace(" *   ", "").replace("score.c -o score", f"{source} -o {path} -Wall -Wextra -Werror")
    subprocess.run(["bash", "-c", f"TF={folder}; {command}"], check=True)
    return path


def columns_of(inputs: dict[str, np.ndarray]) -> str:
    """Inputs in the lines that the program reads."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return ",".join(text(each) for each in value)
        if isinstance(value, bytes | str):
            return value.decode() if isinstance(value, bytes) else value
        return "" if value != value or value == EMPTY_IDS else repr(value)

    rows = {name: [text(value) for value in values.tolist()] if values.size else [] for name, values in inputs.items()}
    return "".join("\t".join([name, *cells]) + "\n" for name, cells in rows.items())


@pytest.mark.parametrize("name", ["query_tower", "ranker"])
def test_a_program_in_c_answers_as_python_to_the_last_bit(
    program: pathlib.Path,
    served: pathlib.Path,
    given: dict[str, dict[str, np.ndarray]],
    recommender: Recommender,
    name: str,
) -> None:
    folder = served / "serving" / name / "1"
    signature = saved_signatures.read(str(folder))["serving_default"]
    (output,) = (slot.tensor for slot in signature.outputs.values())
    inputs = given[name]
    command = [str(program), str(folder), output]
    run = subprocess.run(command, input=columns_of(inputs), capture_output=True, text=True, check=True)
    found = np.array([line.split("\t") for line in run.stdout.splitlines()], np.float32)
    model = ModelServer(served / "serving", name)
    (expected,) = model.run(name, "serving_default", inputs).values()
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    if name == "ranker":
        return
    wrong = subprocess.run(command, input="aeg\t5\n", capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr.splitlines()[-1]) == (1, "score: aeg: is no column of this model")
