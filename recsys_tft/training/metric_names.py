"""Metrics of a trained model under names that experiment trackers accept.

MLflow accepts letters, digits, `_`, `-`, `.`, `/`, `:` and blanks, and no name that is a prefix folder of another:
https://mlflow.org/docs/latest/ml/tracking.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from recsys_tft.training.model_folders import ModelFolder

_NOT_TAKEN = re.compile(r"[^A-Za-z0-9_.-]+")


def flat_metrics(output_dir: str, model: str) -> dict[str, float]:
    """The numbers of a model's metrics.json by flat names such as `test/two_tower/all/recall_at_10`.

    Args:
        output_dir: of the run.
        model: `two_tower` or `ranker`.

    Raises:
        InputError: if it is not trained, or the file is damaged.

    Example:
        >>> mlflow.log_metrics(flat_metrics("out", "two_tower"))  # doctest: +SKIP
    """
    with ModelFolder(output_dir, model).held() as folder:
        return dict(flattened(folder.read("metrics.json")))


def flattened(metrics: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of nested mappings; the `value` of an interval has the name of the mapping.

    An interval's limits are `NAME_low` and `NAME_high`, so that no name is also a folder.
    """
    for key, value in metrics.items():
        name = above + _taken(key)
        if isinstance(value, Mapping):
            if "value" in value:
                named = {(_taken(key) if part == "value" else f"{key}_{part}"): limit for part, limit in value.items()}
                yield from flattened(named, above)
            else:
                yield from flattened(value, f"{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)


def _taken(key: str) -> str:
    return _NOT_TAKEN.sub("_", key.replace("@", "_at_"))
