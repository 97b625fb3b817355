"""The configs that are shipped."""

import pathlib
from typing import Any

import pydantic
import pytest
import yaml

from recsys_tft.configuration.settings import Settings, load

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
    assert f"--config configs/{file.name}" in file.read_text().splitlines()[0]
