"""Warm starts: from the last model of the output, if it fits, with the state of its optimizer."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import TITLE
from recsys_tft.errors import InputError
from recsys_tft.labelling.split_times import SPLITS
from recsys_tft.retrieval import two_tower
from recsys_tft.retrieval.two_tower import TwoTower
from recsys_tft.retrieval.two_tower_fit import Fit
from recsys_tft.run_layout.run_folders import RENAMED
from recsys_tft.storage import json_files
from recsys_tft.training import checkpoints
from recsys_tft.training.model_folders import MODEL, ModelFolder
from recsys_tft.training.timeline import Timeline

SLOTS = "optimizer.npz"
JUDGED = "judged"  # the folder of the model before a refit, which has not seen val and test
# Settings of `two_tower` about the structure of a model; the rest is about training.
_BUILT_BY = ("dim", "hidden", TITLE, "title_dim", "normalize", "temperature", "history_encoder")


@dataclasses.dataclass(frozen=True)
class Start:
    """The start of a training.

    Attributes:
        model: with its old vocabularies.
        slots: the values of `Fit.slots`.
        fitted: the names of the parts of the timeline that it was trained on.
        through: the last period with rows at that time; None for the run alone.
    """

    model: TwoTower
    slots: Sequence[np.ndarray]
    fitted: tuple[str, ...] = ()
    through: str | None = None

    def described(self) -> dict[str, Any]:
        """Its record in the next model."""
        return {"period": self.through, "fitted": list(self.fitted)}


def keep(fit: Fit, folder: pathlib.Path) -> None:
    """Write the additional state for a warm start into the folder of a model."""
    checkpoints.write(folder / SLOTS, fit.slots, {})


def keep_judged(fit: Fit, work: pathlib.Path) -> None:
    """Write the model before a refit, for a later warm start."""
    folder = work / JUDGED
    folder.mkdir(exist_ok=True)
    fit.model.save(folder)
    keep(fit, folder)


def after(fit: Fit) -> Start:
    """The start of a further training in the same process."""
    return Start(fit.model, [np.asarray(variable) for variable in fit.slots])


def find(folder: ModelFolder, splits: Timeline, chosen: Settings, say: Callable[[str], None]) -> Start | None:
    """The last model of an output with periods, if it fits; reports it, or why a training starts from scratch.

    Args:
        folder: of the model.
        splits: of the output.
        chosen: the settings.
        say: is told which.
    """
    if splits.period is None or not chosen.two_tower.warm_start or not folder.target.exists():
        return None
    try:
        with folder.held() as held:
            start = _start(held, splits, chosen)
    except InputError as error:
        say(f"Starting from nothing: {error}")
        return None
    new = [name for name in splits.names(SPLITS[0]) if name not in start.fitted]
    through = start.through or "the run"
    if not new:
        say(f"Starting from nothing: the model in {folder.target} has been trained on all of train")
        return None
    say(f"Going on from the model of {through}, with the new rows of {', '.join(new)}")
    return start


def _start(held: ModelFolder, splits: Timeline, chosen: Settings) -> Start:
    """The model in a folder.

    Raises:
        InputError: if it does not fit, or a file is missing.
    """
    described = json_files.with_names(held.read(MODEL), RENAMED)
    through = described.get("period")
    if not splits.has_made(described):
        raise InputError(f"the model there is of another run or period than those of {held.output_dir}")
    was_refitted = (held.target / JUDGED).is_dir()
    source = dataclasses.replace(held, version=held.target / JUDGED) if was_refitted else held
    if not (source.target / SLOTS).is_file() or (described["settings"]["two_tower"]["refit"] and not was_refitted):
        raise InputError("the model there is of a release that kept no state of the optimizer")
    model = two_tower.load_weights(source, described)
    for what, (was, now) in _built_by(model, chosen).items():
        if was != now:
            raise InputError(f"the model there has {what} {was}, and {now} is asked for")
    fitted = described.get("splits", {}).get(SPLITS[0], [f"run.{SPLITS[0]}"])
    return Start(model, checkpoints.values(source.target / SLOTS, held.remedy), tuple(fitted), through)


def _built_by(model: TwoTower, chosen: Settings) -> dict[str, tuple[Any, Any]]:
    """The settings and features that a model was built with, and those of a model built now."""
    was, now = model.settings, chosen
    options = {f"two_tower.{name}": (getattr(was.two_tower, name), getattr(now.two_tower, name)) for name in _BUILT_BY}
    towers = zip((model.query_features, model.candidate_features), two_tower.features_for(chosen), strict=True)
    features = {f"the {side} features": pair for side, pair in zip(("query", "candidate"), towers, strict=True)}
    named = {what: ([f.name for f in before], [f.name for f in after]) for what, (before, after) in features.items()}
    return options | {"embeddings": (was.embeddings, now.embeddings)} | named
