"""The configs that are shipped."""

import json
import pathlib
import re
from typing import Any

import jsonschema
import pydantic
import pytest
import yaml

from recsys_tft.cli import main
from recsys_tft.configuration.model_settings import RankerSettings
from recsys_tft.configuration.settings import Settings, load
from recsys_tft.errors import InputError

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"


def fields(section: pydantic.BaseModel) -> dict[str, Any]:
    """All settings of a section, its sections as mappings."""
    found = {name: getattr(section, name) for name in type(section).model_fields}
    return {name: fields(value) if isinstance(value, pydantic.BaseModel) else value for name, value in found.items()}


def keys(values: dict[str, Any]) -> dict[str, Any]:
    return {name: keys(value) if isinstance(value, dict) and value else None for name, value in values.items()}


def test_the_config_shows_every_setting_with_its_default() -> None:
    file = CONFIGS / "processing_config.yaml"
    assert load(file) == Settings()
    shown, expected = keys(yaml.safe_load(file.read_text())), keys(fields(Settings()))
    expected["split"] = {name: None for name in expected["split"] if name not in ("val_from", "test_from")}
    assert shown == expected


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_every_config_loads_and_opens_with_the_command_that_uses_it(file: pathlib.Path) -> None:
    load(file)
    assert file.read_text().startswith("# recsys-tft run ")
    assert f"--config {file.stem}" in file.read_text().splitlines()[0]
    assert load(file.stem) == load(file)


def test_a_file_of_the_name_of_a_preset_comes_first(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "movielens").write_text("seed: 7")
    assert load("movielens") == Settings(seed=7)


def test_a_folder_of_the_name_of_a_preset_is_no_config(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "movielens").mkdir()
    assert load("movielens").split.kind == "time_per_user"


@pytest.mark.parametrize(
    ("name", "end"),
    [("movielenz", " Did you mean 'movielens'?"), ("mine.yaml", ")."), ("below/movielens", ").")],
)
def test_a_config_that_is_not_there_is_told_of_presets_where_it_may_be_meant_as_one(name: str, end: str) -> None:
    with pytest.raises(
        InputError, match=re.escape(f"{name}: cannot read the config (No such file or directory")
    ) as told:
        load(name)
    assert str(told.value).endswith(end)


def test_config_prints_all_settings_or_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    assert capsys.readouterr().out == (CONFIGS / "processing_config.yaml").read_text()
    assert main(["config", "movielens"]) == 0
    assert capsys.readouterr().out == (CONFIGS / "movielens.yaml").read_text()


def test_the_schema_knows_every_setting_and_takes_every_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    for file in CONFIGS.glob("*.yaml"):
        jsonschema.validate(json.loads(json.dumps(yaml.safe_load(file.read_text()), default=str)), schema)
    known = {name: below["properties"] for name, below in schema["$defs"].items() if "properties" in below}
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert set(known["RankerSettings"]) == set(RankerSettings.model_fields)
    for wrong in ({"sede": 1}, {"seed": "one"}, {"output": {"format": "csv"}}, {"ranker": {"iterations": 0}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_version_is_told_with_those_that_matter(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert re.fullmatch(r"recsys-tft 0\.2\.0 \(tensorflow 2\.21\.\d+, .*Python 3\..*\)\n", capsys.readouterr().out)
