"""`recsys-tft feast`: the rows and definitions that it writes. `.ci/feast` has Feast itself read them."""

import datetime
import json
import pathlib
import sys
import types
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recsys_tft import cli
from recsys_tft.columns import KEYS
from recsys_tft.serving import saved_signatures
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.stores import feast


@pytest.fixture(scope="module", params=["served", "served_texts"])
def root(request: pytest.FixtureRequest) -> pathlib.Path:
    """An export of integers, and one of text, in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def repository(root: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("feast") / "repository"
    feast.write(str(root), str(folder))
    return folder


def stored(root: pathlib.Path, name: str) -> list[dict[str, Any]]:
    """The rows of the store in plain Python, with the missing value of texts in lists."""
    path = root / "serving" / "store" / "1" / f"{name}.arrow"
    rows = pa.ipc.open_file(pa.memory_map(str(path))).read_all()

    def plain(value: Any, kind: pa.DataType) -> Any:
        if isinstance(value, list):
            return ["" if each is None else plain(each, kind.value_type) for each in value]
        return value.decode() if isinstance(value, bytes) else value

    return [
        {n.replace("/", "_"): plain(v, rows.schema.field(n).type) for n, v in row.items() if not n.startswith("code/")}
        for row in rows.to_pylist()
    ]


@pytest.mark.parametrize("name", ["users", "videos"])
def test_rows_are_those_of_the_export(name: str, root: pathlib.Path, repository: pathlib.Path) -> None:
    wanted = stored(root, name)
    if name == "videos":
        assert any(row["published_at"] is None for row in wanted)
        for row in wanted:
            row["published_at"] = row["first_seen"] if row["published_at"] is None else row["published_at"]
    as_of = json.loads((root / "serving" / "store" / "1" / "export.json").read_text())["as_of"]
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=as_of)
    found = pq.read_table(repository / "data" / f"{name}.parquet")
    assert found.schema.field("event_timestamp").type == pa.timestamp("us", tz="UTC")
    assert found.to_pylist() == [{**row, "event_timestamp": moment} for row in wanted]
    assert json.loads((repository / "export.json").read_text())["as_of"] == moment.isoformat()


class Said:
    """What a definition was made with."""

    def __init__(self, *_: Any, **given: Any):
        self.given = given

    def __getitem__(self, names: list[str]) -> tuple[str, list[str]]:
        return self.given["name"], names


def defined(repository: pathlib.Path) -> dict[str, Any]:
    """What features.py defines, with stand-ins for Feast's classes."""
    names = ("Entity", "FeatureService", "FeatureView", "Field", "FileSource")
    stand_in = types.SimpleNamespace(
        **dict.fromkeys(names, Said), ValueType=types.SimpleNamespace(INT64="INT64", STRING="STRING")
    )
    kinds = {"Int64": pa.int64(), "Float32": pa.float32(), "String": pa.string(), "Bool": pa.bool_(), "Array": pa.list_}
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "feast", stand_in)
        patch.setitem(sys.modules, "feast.types", types.SimpleNamespace(**kinds))
        exec((repository / "features.py").read_text(), found)
    return found


def test_views_name_each_column_with_its_type(root: pathlib.Path, repository: pathlib.Path) -> None:
    found = defined(repository)
    for name, key in list(KEYS.items())[:2]:
        schema = pq.read_schema(repository / "data" / f"{name}.parquet")
        wanted = {field.name: field.type for field in schema if field.name not in (key, "event_timestamp")}
        view = found[name].given
        assert {field.given["name"]: field.given["dtype"] for field in view["schema"]} == wanted
        (entity,) = view["entities"]
        kind = "INT64" if pa.types.is_integer(schema.field(key).type) else "STRING"
        assert (entity.given["join_keys"], entity.given["value_type"]) == ([key], kind)
        assert (repository / view["source"].given["path"]).is_file()
    settings = yaml.safe_load((repository / "feature_store.yaml").read_text())
    assert (settings["provider"], settings["entity_key_serialization_version"]) == ("local", 3)


def test_services_are_what_the_models_read(root: pathlib.Path, repository: pathlib.Path) -> None:
    found = defined(repository)
    for model in ("query_tower", "ranker"):
        inputs = set(saved_signatures.read(str(root / "serving" / model / "1"))["serving_default"].inputs)
        services = dict(found[model].given["features"])
        assert set(services) == ({"users"} if model == "query_tower" else {"users", "videos"})
        served = {name for names in services.values() for name in names}
        tallies = {name for name in served if name.startswith("of_group_")}
        left = inputs - served - set(KEYS.values())
        if model == "query_tower":
            assert (left, tallies) == (set(), set())
        else:
            pairs = {name for name in left if any(tally.endswith(name) for tally in tallies)}
            assert left - pairs == {"interaction_time", "device", "counted_video_id"}
            assert len(pairs) == len(tallies) - 3 == 6
        assert served - tallies <= inputs


def test_nulls_that_feast_cannot_hold_are_what_the_models_take_for_missing() -> None:
    def filled(values: pa.Array) -> list:
        return feast._without_gaps(values).to_pylist()

    assert filled(pa.array([1, None])) == [1, None]
    assert filled(pa.array([2**53, -(2**53), None])) == [2**53, -(2**53), None]
    for long in (2**53 + 1, -(2**53) - 1, EMPTY_IDS + 1):
        assert filled(pa.array([long, None])) == [long, EMPTY_IDS]
    assert filled(pa.array([None], pa.int64())) == [None]
    assert filled(pa.array([["a", None], None, []])) == [["a", ""], None, []]
    assert filled(pa.array([[1, None], None])) == [[1, EMPTY_IDS], None]


def test_the_command_says_what_it_wrote_and_replaces_only_its_own(
    served: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "repository"
    command = ["feast", "--output-dir", str(served), "--to", str(to)]
    assert cli.main(command) == 0
    assert f"Features of 150 users and 300 videos in {to}\nVersion 1 of the export, as of 20" in capsys.readouterr().out
    (to / "data" / "registry.db").write_text("of feast apply")
    assert cli.main(command) == 2
    assert "exists already; --overwrite replaces it." in capsys.readouterr().err
    assert cli.main([*command, "--overwrite"]) == 0
    assert sorted(path.name for path in (to / "data").iterdir()) == ["users.parquet", "videos.parquet"]
    (to / "export.json").unlink()
    assert cli.main([*command, "--overwrite"]) == 1
    assert "has other files than those of export.json" in capsys.readouterr().err
    assert cli.main(["feast", "--output-dir", str(served), "--to", str(to), "--version", "7"]) == 1
    assert "looked for version 7, found versions 1" in capsys.readouterr().err
