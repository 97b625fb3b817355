"""`recsys-tft vectors`: every store finds what the exported retrieval finds, and holds what the tables hold."""

import functools
import importlib
import json
import pathlib
import re
import types
from collections.abc import Sequence
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import once

from recsys_tft import cli
from recsys_tft.columns import IdKind
from recsys_tft.commands import vectors_command
from recsys_tft.errors import InputError, UsageError
from recsys_tft.recommending.entity_store import EntityStore
from recsys_tft.serving import served_models
from recsys_tft.serving.serving_rows import arrays
from recsys_tft.storage import version_folders
from recsys_tft.stores import json_text, new_folder, vector_formats, vectors
from recsys_tft.stores.exported import Exported
from recsys_tft.stores.vector_formats import FORMATS, Part

PAGE = (pathlib.Path(__file__).parent.parent / "docs" / "vectors.md").read_text()
VECTOR_OF, *LOADING = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
STORES = dict(zip(("qdrant", "milvus", "lancedb"), LOADING, strict=True))
K = 20


class Asked(NamedTuple):
    """A user, and what the exported models say of them."""

    user: int | str
    query: np.ndarray
    video_ids: list[int | str]
    scores: np.ndarray


@pytest.fixture(scope="module", params=["served", "served_texts"])
def root(request: pytest.FixtureRequest) -> pathlib.Path:
    """An export of integers, and one of text, in turn."""
    return request.getfixturevalue(request.param)


@functools.cache
def asked(root: pathlib.Path) -> list[Asked]:
    """Some users with all videos as the exported retrieval puts them in order."""
    models = {n: served_models.load(str(root / "serving" / n / "1"), "") for n in ("query_tower", "retrieval")}
    store = EntityStore(root / "serving" / "store" / "1")
    found = []
    for user in store.some_users(3):
        row = store.user(user)
        columns = dict(zip(row.column_names, row.columns, strict=True))
        given = {n: arrays(columns, model.signatures["serving_default"].inputs) for n, model in models.items()}
        (query,) = models["query_tower"].run("serving_default", given["query_tower"])["vector"]
        best = models["retrieval"].run("serving_default", {**given["retrieval"], "k": np.int32(len(store.video_ids))})
        ids = [i.decode() if isinstance(i, bytes) else int(i) for i in best["video_ids"][0]]
        found.append(Asked(user, query, ids, best["scores"][0]))
    return found


@pytest.fixture(scope="module")
def written(root: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folders of all formats that can hold these ids, in several files and requests."""

    def write(folder: pathlib.Path) -> pathlib.Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vectors, "ROWS", 130)
            patch.setattr(vector_formats, "QDRANT_POINTS", 50)
            for store in FORMATS:
                if store != "pinecone" or isinstance(asked(root)[0].user, int):
                    vectors.write(str(root), store, str(folder / store))
        return folder

    return once(tmp_path_factory, f"vectors-{root.parent.name}", write)


def rows_of(root: pathlib.Path) -> dict[int | str, dict[str, Any]]:
    """The rows of the store in plain Python, by id."""
    path = root / "serving" / "store" / "1" / "videos.arrow"
    rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all().to_pylist()

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(each) for each in value]
        return value.decode() if isinstance(value, bytes) else value

    return {plain(row["video_id"]): {name: plain(value) for name, value in row.items()} for row in rows}


METADATA = (
    "channel_id", "title", "category", "child_categories", "popularity", "video_language", "tags", "published_at",
)  # fmt: skip


def lines(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("data/part-*")) for line in path.open()]


# --- Stores that run here


def loaded(store: str, root: pathlib.Path, folder: pathlib.Path, work: pathlib.Path) -> dict[str, Any]:
    """The names of the page's blocks, run where `out` is the export and `vectors` the written folder."""
    for package in {"qdrant": ["qdrant_client"], "milvus": ["milvus_lite", "pymilvus"]}.get(store, [store]):
        pytest.importorskip(package, reason=f"{package} has no wheel for this Python")
    (work / "out").symlink_to(root)
    (work / "vectors").symlink_to(folder / store)
    names: dict[str, Any] = {}
    user = repr(asked(root)[0].user)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        exec(VECTOR_OF.replace("user_id=[5]", f"user_id=[{user}]"), names)
        exec(STORES[store], names)
    return names


def search(store: str, names: dict[str, Any], query: Sequence[float]) -> list[tuple[int | str, float]]:
    """The K best videos of a store, and their scores."""
    if store == "qdrant":
        found = names["client"].query_points("videos", query=query, limit=K).points
        return [(point.payload["video_id"], point.score) for point in found]
    if store == "milvus":
        return [(hit["video_id"], hit["distance"]) for hit in names["client"].search("videos", [query], limit=K)[0]]
    found = names["table"].search(query).distance_type("dot").limit(K).to_list()
    return [(row["video_id"], 1 - row["_distance"]) for row in found]


@pytest.mark.parametrize("store", STORES)
def test_a_store_finds_what_the_exported_retrieval_finds(
    store: str, root: pathlib.Path, written: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    names = loaded(store, root, written, tmp_path)
    for one in asked(root):
        found = search(store, names, one.query.tolist())
        assert [video for video, _ in found] == one.video_ids[:K]
        np.testing.assert_allclose([score for _, score in found], one.scores[:K], rtol=1e-5, atol=1e-5)
    rows = rows_of(root)
    ordered = in_order(written, names["query"])
    music = [video for video in ordered if rows[video]["category"] == "music"][:10]
    shown = {"qdrant": lambda hit: hit.payload["video_id"]}.get(store, lambda hit: hit["video_id"])
    assert [shown(hit) for hit in names["found"]] == music


def in_order(folder: pathlib.Path, query: Sequence[float]) -> list[int | str]:
    """All videos in the order of their products with a vector."""
    columns = pq.read_table(folder / "parquet" / "data")
    scores = np.stack(columns["vector"].to_numpy()) @ np.array(query, np.float32)
    return [columns["video_id"][int(row)].as_py() for row in np.argsort(-scores, kind="stable")]


# --- What is in the files


def test_vectors_are_those_of_the_retrieval_model_to_the_last_bit(root: pathlib.Path, written: pathlib.Path) -> None:
    table = pq.read_table(written / "parquet" / "data")
    held = np.stack(table["vector"].to_numpy())
    assert table.schema.field("vector").type == pa.list_(pa.float32(), held.shape[1])
    for one in asked(root):
        order = {video: place for place, video in enumerate(table["video_id"].to_pylist())}
        products = held[[order[video] for video in one.video_ids]] @ one.query
        np.testing.assert_allclose(products, one.scores, rtol=1e-6, atol=1e-6)
    assert len(order) == len(table) == len(rows_of(root))
    others = {"milvus": "vector", "lancedb": "vector", "pinecone/data/__default__": "values"}
    for folder, name in others.items():
        if (written / folder).exists():
            files = sorted((written / folder).rglob("*.parquet"))
            found = pa.concat_tables(map(pq.read_table, files))[name]
            np.testing.assert_array_equal(np.stack(found.to_numpy()), held)
    points = [point for request in lines(written / "qdrant") for point in request["points"]]
    for found in ([p["vector"] for p in points], [p["embedding"] for p in lines(written / "vertex")]):
        np.testing.assert_array_equal(np.array(found, np.float32), held)


def test_metadata_are_the_values_of_the_tables(root: pathlib.Path, written: pathlib.Path) -> None:
    rows = rows_of(root)
    wanted = {video: {n: row[n] for n in METADATA if row[n] is not None} for video, row in rows.items()}
    assert any(len(row) < len(METADATA) for row in wanted.values())
    points = [point for request in lines(written / "qdrant") for point in request["points"]]
    assert {p["payload"].pop("video_id"): p["payload"] for p in points} == wanted
    table = pq.read_table(written / "milvus" / "data").drop_columns(["vector"])
    assert table.column_names == ["video_id", *METADATA]
    assert {row.pop("video_id"): {n: v for n, v in row.items() if v is not None} for row in table.to_pylist()} == wanted
    typed = pq.read_table(written / "lancedb" / "data")
    assert typed.schema.field("published_at").type == pa.timestamp("us", tz="UTC")
    assert (
        typed.set_column(
            typed.column_names.index("published_at"), "published_at", typed["published_at"].cast(pa.int64())
        )
        .drop_columns(["vector"])
        .equals(table)
    )


DATAPOINT = {  # https://cloud.google.com/vertex-ai/docs/vector-search/setup/format-structure
    "type": "object",
    "required": ["id", "embedding"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string"},
        "embedding": {"type": "array", "items": {"type": "number"}},
        "restricts": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["namespace", "allow"],
                "additionalProperties": False,
                "properties": {
                    "namespace": {"type": "string"},
                    "allow": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                },
            },
        },
        "numeric_restricts": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["namespace"],
                "minProperties": 2,
                "maxProperties": 2,
                "properties": {
                    "namespace": {"type": "string"},
                    "value_int": {"type": "integer"},
                    "value_float": {"type": "number"},
                },
            },
        },
    },
}


def test_datapoints_are_as_vertex_documents_them(root: pathlib.Path, written: pathlib.Path) -> None:
    jsonschema = importlib.import_module("jsonschema")
    check, rows, points = jsonschema.Draft202012Validator(DATAPOINT), rows_of(root), lines(written / "vertex")
    assert [path.name for path in (written / "vertex" / "data").iterdir() if path.suffix != ".json"] == []
    for point, (video, row) in zip(points, zip_by_id(points, rows), strict=True):
        check.validate(point)
        assert point["id"] == str(video)
        tokens = {r["namespace"]: r["allow"] for r in point["restricts"]}
        lists = {n: row[n] if isinstance(row[n], list) else [str(row[n])] for n in METADATA if row[n] not in (None, [])}
        numbers = {n: {"namespace": n, "value_int": row[n]} for n in ("published_at",) if row[n] is not None}
        assert tokens == {n: v for n, v in lists.items() if n not in ("title", "published_at")}
        assert point["numeric_restricts"] == list(numbers.values())


def zip_by_id(points: list[dict[str, Any]], rows: dict[int | str, dict[str, Any]]) -> list[tuple[int | str, dict]]:
    by_text = {str(video): (video, row) for video, row in rows.items()}
    return [by_text[point["id"]] for point in points]


def test_parquet_is_as_pinecone_documents_it(served: pathlib.Path, written_integers: pathlib.Path) -> None:
    (folder,) = (written_integers / "pinecone" / "data").iterdir()
    assert folder.name == "__default__"
    rows = rows_of(served)
    for path in folder.iterdir():
        file = pq.ParquetFile(path)
        assert file.schema_arrow.types == [pa.string(), pa.list_(pa.float32()), pa.string()]
        assert file.schema_arrow.names == ["id", "values", "metadata"]
        assert file.metadata.row_group(0).column(0).compression != "GZIP"
        for row in file.read().to_pylist():
            own = rows[int(row["id"])]
            wanted = {n: own[n] for n in ("video_id", *METADATA) if own[n] is not None}
            texts = {n: str(wanted[n]) for n in ("video_id", "channel_id") if n in wanted}
            assert json.loads(row["metadata"]) == wanted | texts


@pytest.fixture(scope="module")
def written_integers(served: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("pinecone")
    vectors.write(str(served), "pinecone", str(folder / "pinecone"))
    return folder


def test_what_they_are_is_said(root: pathlib.Path, written: pathlib.Path) -> None:
    found = json.loads((written / "milvus" / "vectors.json").read_text())
    exported = json.loads((root / "serving" / "store" / "1" / "export.json").read_text())
    last = pq.read_table(root / "raw" / "interactions.parquet")["interaction_time"].cast(pa.timestamp("us", "UTC"))
    assert exported["as_of"] == max(last.cast(pa.int64()).to_pylist()) + 1
    assert found["as_of"].startswith(str(max(last.to_pylist()).date()))
    described = {name: found[name] for name in ("version", "metric", "count", "dimension", "id", "transform_graph")}
    assert described == {
        "version": 1, "metric": "dot product", "count": 300, "dimension": 32, "id": "video_id",
        "transform_graph": exported["transform_graph"],
    }  # fmt: skip
    assert found["collection"]["collectionName"] == "videos_1"
    assert found["collection"]["indexParams"][0]["metricType"] == "IP"


# --- A part of any values


def part(**changes: Any) -> Part:
    given = {
        "name": "film", "ids": pa.array(["a", "b"]), "numbers": pa.array([1, 2], pa.uint64()),
        "vectors": np.eye(2, dtype=np.float32), "metadata": {}, "keys": frozenset(), "texts": frozenset(),
    }  # fmt: skip
    return Part(**{**given, **changes})


@pytest.mark.parametrize(
    ("store", "changes", "sentence"),
    [
        ("pinecone", {"ids": pa.array(["a", "é"])}, "The video 'é': Pinecone takes ids of ASCII alone."),
        ("pinecone", {"ids": pa.array(["a", "b" * 513])}, "Pinecone takes ids of 512 characters."),
        ("pinecone", {"metadata": {"t": pa.array([None, "é" * 21_000])}}, "The video 'b': Pinecone takes 40960 bytes"),
        ("milvus", {"metadata": {"a b": pa.array([1, 2])}}, "The column 'a b' has a name that Milvus does not take"),
        ("milvus", {"metadata": {"t": pa.array(["a", "é" * 33_000])}}, "Milvus takes 65535 bytes of text in t."),
        ("milvus", {"metadata": {"t": pa.array([["a"], ["b"] * 5000])}}, "Milvus takes 4096 elements in t."),
    ],
)
def test_what_a_store_cannot_hold_is_named(
    store: str, changes: dict[str, Any], sentence: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        FORMATS[store].write(part(**changes), tmp_path, 0)


@pytest.mark.parametrize("store", FORMATS)
def test_a_normalized_model_is_compared_by_cosine(store: str) -> None:
    dot, cosine = (json.dumps(FORMATS[store].collection("v", part(), metric)) for metric in ("dot product", "cosine"))
    assert "cosine" in cosine.lower()
    assert "cosine" not in dot.lower()


def test_numbers_and_booleans_of_tables_are_restricts_of_vertex_by_their_types(tmp_path: pathlib.Path) -> None:
    metadata = {
        "views": pa.array([2**53 + 1, None]),
        "share": pa.array([0.1, None], pa.float32()),
        "kids": pa.array([True, None]),
    }
    FORMATS["vertex"].write(part(metadata=metadata), tmp_path, 0)
    first, second = map(json.loads, (tmp_path / "part-00000.json").open())
    assert first["restricts"] == [{"namespace": "kids", "allow": ["true"]}]
    numbers = [{"namespace": "views", "value_int": 2**53 + 1}, {"namespace": "share", "value_float": 0.1}]
    assert first["numeric_restricts"] == numbers
    assert (second["restricts"], second["numeric_restricts"]) == ([], [])


@pytest.mark.parametrize(
    ("given", "kind", "points"),
    [
        ([5, -1], IdKind.INTEGER, [5, 2**64 - 1]),
        (["c0ffee00-5f00-4d1e-8a3b-2f0e5d1c9b7a"] * 2, IdKind.UUID, ["c0ffee00-5f00-4d1e-8a3b-2f0e5d1c9b7a"] * 2),
    ],
)
def test_points_of_qdrant_are_integers_or_uuids(given: list, kind: IdKind, points: list) -> None:
    binary = pa.array(given, pa.binary() if kind is IdKind.UUID else pa.int64())
    assert vectors.numbers(binary, kind).to_pylist() == points


TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
KINDS = {
    pa.string(): TEXTS,
    pa.list_(pa.string()): st.lists(TEXTS, max_size=3),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.bool_(): st.booleans(),
    pa.float32(): st.floats(width=32, allow_nan=False, allow_infinity=False),
}


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.given(st.data())
def test_rows_become_the_json_that_python_reads_as_the_same_values(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 4))
    columns = data.draw(st.dictionaries(TEXTS.filter(bool), st.sampled_from(list(KINDS)), min_size=1, max_size=3))
    values = {
        name: pa.array(data.draw(st.lists(st.none() | KINDS[kind], min_size=size, max_size=size)), kind)
        for name, kind in columns.items()
    }
    rows = [dict(zip(values, row, strict=True)) for row in zip(*(v.to_pylist() for v in values.values()), strict=True)]
    found = [json.loads(line) for line in json_text.of_columns(values).to_list()]
    for row, read in zip(rows, found, strict=True):
        floats = {n: np.float32(v) for n, v in read.items() if columns[n] == pa.float32()}
        assert {**read, **floats} == {name: value for name, value in row.items() if value is not None}


# --- The command


def test_the_command_says_what_it_wrote_and_replaces_only_its_own(
    served: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "new" / "vectors"
    command = ["vectors", "vertex", "--output-dir", str(served), "--to", str(to)]
    assert cli.main([*command, "--metadata", "category", "view_count"]) == 0
    out = capsys.readouterr().out
    assert f"Vectors: 300 of 32 numbers in {to}, for vertex" in out
    assert "Version 1 of the export, as of 20" in out
    assert list(json.loads((to / "vectors.json").read_text())["metadata"]) == ["category", "view_count"]
    before = (to / "data" / "part-00000.json").read_bytes()

    assert cli.main(command) == 2
    assert f"{to}: exists already; --overwrite replaces it." in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setitem(FORMATS, "vertex", FORMATS["vertex"].__class__(failing, FORMATS["vertex"].collection))
        assert cli.main([*command, "--overwrite"]) == 1
    assert (to / "data" / "part-00000.json").read_bytes() == before
    assert cli.main([*command, "--metadata", "--overwrite"]) == 0
    assert (to / "data" / "part-00000.json").read_bytes() != before
    assert [path.name for path in to.parent.iterdir()] == ["vectors"]

    (to / "vectors.json").unlink()
    assert cli.main([*command, "--overwrite"]) == 1
    assert "has other files than those of vectors.json" in capsys.readouterr().err
    assert cli.main([*command[:-1], str(tmp_path / "other"), "--metadata", "categry"]) == 2
    assert (
        "--metadata names 'categry', which is not a column of videos that can be a filter. Did you mean 'category'?"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "other").exists()


def test_a_folder_is_replaced_where_the_filesystem_cannot_swap(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_folders, "swap", lambda *_: False)
    for text in ("old", "new"):
        with new_folder.new_folder(tmp_path / "made", "mark", overwrite=True) as made:
            (made / "mark").write_text(text)
    assert (tmp_path / "made" / "mark").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_no_store_filters_by_lists_of_numbers() -> None:
    rows = pa.table({"video_id": [1], "scores": [[0.5]], "tags": [[b"a"]], "shots": pa.array([[1]])})
    exported = types.SimpleNamespace(
        store=types.SimpleNamespace(all_videos=rows), own_name=str, description={"stored": {}}
    )
    assert vectors._metadata(exported, ["tags"]) == {"tags": "tags"}
    for name in ("scores", "shots"):
        with pytest.raises(UsageError, match=f"names '{name}', which is not a column of videos that can be a filter"):
            vectors._metadata(exported, [name])


def failing(*_: object) -> None:
    raise InputError("no room.")


def test_what_cannot_be_written_is_told_before_anything_is_loaded(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["vectors", "qdrant", "--output-dir", str(tmp_path), "--to", "gs://bucket/x"]) == 2
    assert "--to is 'gs://bucket/x'; name a local folder" in capsys.readouterr().err
    assert cli.main(["vectors", "qdrant", "--output-dir", str(tmp_path), "--to", str(tmp_path / "x")]) == 1
    assert "looked for an exported version, found none; run recsys-tft export first." in capsys.readouterr().err


def test_the_command_knows_every_format() -> None:
    assert tuple(FORMATS) == vectors_command.STORES


def test_an_export_of_an_earlier_release_has_to_be_made_again(
    served: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys_tft.stores.exported._KEYS", ("settings", "of_tomorrow"))
    with pytest.raises(InputError, match="lacks 'of_tomorrow'; run recsys-tft export again"):
        Exported(str(served))


def test_columns_have_the_names_of_the_users_own_tables(served: pathlib.Path, tmp_path: pathlib.Path) -> None:
    columns = {"videos": {"genre": "category", "film": "video_id", "out": {"name": "published_at", "unit": "s"}}}
    described = types.SimpleNamespace(description={"settings": {"columns": columns}})
    names = Exported.own_names.func(described)
    assert names == {"category": "genre", "video_id": "film", "published_at": "out"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exported, "own_names", names)
        vectors.write(str(served), "parquet", str(tmp_path / "x"), ["genre", "out", "tags"])
        with pytest.raises(UsageError, match="'category', which is not a column of videos"):
            vectors.write(str(served), "parquet", str(tmp_path / "y"), ["category"])
    assert pq.read_table(tmp_path / "x" / "data").column_names == ["film", "vector", "genre", "out", "tags"]
