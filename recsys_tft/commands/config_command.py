"""`recsys-tft config`: all settings."""

import argparse
import json
from collections.abc import Sequence

EXAMPLE = """example:
  recsys-tft config > my.yaml
  recsys-tft config movielens
  recsys-tft config --schema > settings.schema.json

Your own config contains only the differences from the defaults. `run --config movielens` takes a preset by name.
YAML editors complete settings from the schema if a config begins with
  # yaml-language-server: $schema=settings.schema.json"""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    from recsys_tft.configuration import presets

    names = [name for name in presets.files() if name != presets.ALL_SETTINGS]
    parser.add_argument(
        "preset", nargs="?", choices=names, metavar="NAME", help=f"a preset: {', '.join(names)} (default: all settings)"
    )
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of configs instead")


def config(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Print all settings with their defaults, a preset, or the schema."""
    from recsys_tft.configuration import presets

    if options.schema:
        print(json.dumps(schema(), indent=1))
    else:
        print(presets.files()[options.preset or presets.ALL_SETTINGS].read_text("utf-8"), end="")
    return 0


def schema() -> dict:
    """The JSON schema of configs."""
    from recsys_tft.configuration.settings import Settings

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
