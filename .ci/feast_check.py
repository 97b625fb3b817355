"""Applies, materializes and reads a repository that `recsys-tft feast` wrote, by Feast, in an environment of its own.

    python feast_check.py REPOSITORY STORE

STORE is `serving/store/N` of the export. `.ci/feast` makes the environment, and runs it.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys

import pyarrow as pa
from feast import FeatureStore


def main(repository: pathlib.Path, held: pathlib.Path) -> None:
    feast = pathlib.Path(sys.executable).with_name("feast")
    as_of = datetime.datetime.fromisoformat(json.loads((repository / "export.json").read_text())["as_of"])
    end = (as_of + datetime.timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S")
    for command in (["apply"], ["materialize", "1970-01-01T00:00:00", end]):
        subprocess.run([feast, *command], cwd=repository, check=True)
    store = FeatureStore(str(repository))
    users, videos = rows_of(held / "users.arrow", "user_id"), rows_of(held / "videos.arrow", "video_id")
    for row in videos.values():
        row["published_at"] = row["published_at"] if row["published_at"] is not None else row.get("first_seen")
    for name, key, rows in (("users", "user_id", users), ("videos", "video_id", videos)):
        view = store.get_feature_view(name)
        names = [field.name for field in view.features]
        asked = [*rows, -1 if isinstance(next(iter(rows)), int) else "nobody"]
        found = store.get_online_features([f"{name}:{n}" for n in names], [{key: one} for one in asked]).to_dict()
        assert set(names) | {key} == set(next(iter(rows.values()))) == set(found), (names, found.keys())
        for column in names:
            wanted = [row[column] for row in rows.values()]
            check(name, column, list(rows), wanted, found[column][:-1])
            assert found[column][-1] is None, (column, found[column][-1])
        print(f"{name}: {len(rows)} rows of {len(names)} features are what the export holds")
    user, video = next(iter(users)), next(iter(videos))
    for model in ("query_tower", "ranker"):
        service = store.get_feature_service(model)
        found = store.get_online_features(service, [{"user_id": user, "video_id": video}]).to_dict()
        for column in set(found) - {"user_id", "video_id"}:
            check(model, column, [user], [{**users[user], **videos[video]}[column]], found[column])
        print(f"{model}: {len(found)} columns")
    try_page(repository, user)


def try_page(repository: pathlib.Path, user: int | str) -> None:
    """Runs the lines of docs/feast.md about a user of the export."""
    page = (pathlib.Path(__file__).parent.parent / "docs" / "feast.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    os.chdir(repository.parent)
    exec(block.replace('"user_id": 5', f'"user_id": {user!r}').replace('"feature_repo"', f'"{repository.name}"'), names)
    assert names["columns"]["user_id"] == [user]


def rows_of(path: pathlib.Path, key: str) -> dict[int | str, dict[str, object]]:
    """The rows of the export's store in plain Python, by id."""
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    names = [name for name in table.column_names if not name.startswith("code/")]
    columns = {name.replace("/", "_"): exact([plain(value) for value in table[name].to_pylist()]) for name in names}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return {row[key]: row for row in rows}


def plain(value: object) -> object:
    """What Feast has of it: in a list of texts there is no null, and '' stands for it."""
    if isinstance(value, list):
        texts = any(isinstance(each, bytes) for each in value)
        return ["" if each is None and texts else plain(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


def exact(values: list) -> list:
    """What Feast has of a column: where integers are beyond 2^53, the least int64 stands for null."""
    is_long = any(isinstance(value, int) and abs(value) > 2**53 for value in values)
    return [-(2**63) if value is None and is_long else value for value in values]


def check(view: str, column: str, keys: list, wanted: list, found: list) -> None:
    """Compares values and their types."""
    assert len(wanted) == len(found)
    for key, one, other in zip(keys, wanted, found, strict=True):
        same = one == other and type(one) is type(other)
        assert same, f"{view} {key}: {column} is {one!r} in the export, {other!r} in Feast"


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
