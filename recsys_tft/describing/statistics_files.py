"""Statistics files of a run: `artifacts/statistics/statistics.json` for programs, `FeatureStats.pb` for TFDV."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_tft.describing.columns import Described
from recsys_tft.errors import InputError
from recsys_tft.storage import json_files

FOLDER, FIGURES, PROTO = "statistics", "statistics.json", "FeatureStats.pb"
LAYOUT = 1  # of the figures


def run_figures(
    described: Described,
    settings: Any,
    vocabularies: Mapping[str, Sequence[bytes]],
    splits: Sequence[str],
    run: str,
) -> dict[str, Any]:
    """The figures of a run.

    Args:
        described: its rows.
        settings: of the run.
        vocabularies: their values.
        splits: the names of the splits, in the order of their numbers.
        run: its name.
    """
    from recsys_tft.describing import figures, run_rows

    by_data_set, columns = run_rows.layout(settings, vocabularies, splits)
    return {"layout": LAYOUT, "run": run, "data_sets": figures.figures(described, by_data_set, columns)}


def write(found: Mapping[str, Any], output: Any) -> None:
    """Write the figures into the staged artifacts of an output."""
    from recsys_tft.describing.statistics_proto import to_proto
    from recsys_tft.storage.files import write_file, write_text

    text = json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n"
    write_text(output.staged("artifacts", FOLDER, FIGURES), text)
    proto = to_proto(found).SerializeToString(deterministic=True)
    write_file(output.staged("artifacts", FOLDER, PROTO), lambda file: file.write(proto))


def path_in(output_dir: str) -> pathlib.Path:
    """The path of an output's statistics."""
    return pathlib.Path(output_dir, "artifacts", FOLDER, FIGURES)


def read(output_dir: str) -> dict[str, Any]:
    """The figures of a run or a period.

    Raises:
        InputError: if it has none, or they are damaged, or of a release with another layout.
    """
    path = path_in(output_dir)
    if not path.exists():
        raise InputError(
            f"{path}: there are no statistics; run again with `statistics: {{enabled: true}}`, or name an output of "
            "recsys-tft run or refresh."
        )
    remedy = f"run again (recsys-tft run --output-dir {output_dir} --overwrite)"
    found = json_files.read(path, remedy, ("layout", "data_sets"))
    if found["layout"] != LAYOUT:
        raise InputError(f"{path}: has the layout {found['layout']}, and {LAYOUT} is read here; {remedy}.")
    return found
