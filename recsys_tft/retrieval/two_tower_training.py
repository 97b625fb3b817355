"""`recsys-tft train two-tower`: trains, compares with baselines of the same run, and writes models/two_tower."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
from rich.console import RenderableType

from recsys_tft.configuration.settings import Settings
from recsys_tft.faults import sentences
from recsys_tft.labelling.split_times import SPLITS
from recsys_tft.retrieval import growth, retrieval_evaluation, retrieval_metrics, warm_start
from recsys_tft.retrieval.baseline_choice import Baselines
from recsys_tft.retrieval.retrieval_evaluation import SLICES, WARM
from recsys_tft.retrieval.two_tower import FOLDER, TwoTower, features_for
from recsys_tft.retrieval.two_tower_fit import Fit, State
from recsys_tft.retrieval.two_tower_rows import TwoTowerRows
from recsys_tft.retrieval.warm_start import Start
from recsys_tft.storage.json_files import to_json
from recsys_tft.training import model_folders, stopwatch, timeline, training_report
from recsys_tft.training.model_folders import METRICS, MODEL, ModelFolder
from recsys_tft.training.timeline import NEW, OLD, Timeline

WITHOUT_TITLE = "without titles"
OF_BOTH = "of train and val"
_WARM_ALONE = "users and videos with a training positive, ranked among such videos alone"


class TwoTowerResult(training_report.TrainingResult):
    """A trained two-tower model."""

    def report(self) -> list[RenderableType]:
        """The metrics beside those of the baselines, and paths, for a terminal."""
        seconds = sum(fitted["seconds"] for fitted in self.metrics["training"].values())
        own = self.metrics["training"][FOLDER]
        return [
            *training_report.by_split(
                self.metrics, retrieval_metrics.NAMES, ("coverage",), SLICES, "ndcg@10", {WARM: _WARM_ALONE}
            ),
            f"\nBaselines:  {self._baselines()}, by val",
            f"Best epoch: {own['best_epoch']} of {own['epoch']}; {own['examples_per_second']:,.0f} examples/s",
            *training_report.refitted(self.metrics),
            *self._of_both(),
            f"Model:      {self.folder.target}  (metrics.json, model.json, weights)",
            f"Logs:       tensorboard --logdir {self.folder.target / 'logs'}",
            f"{stopwatch.sentence(own)}.",
            f"Trained in {seconds:.1f} s.",
        ]

    def _of_both(self) -> list[str]:
        """A note on the rows of models that were fitted on train and val, if there are any."""
        if f"{FOLDER} {OF_BOTH}" not in self.metrics["test"]:
            return []
        return [f"Rows '{OF_BOTH}' are of models that were fitted on both, with the options chosen on val."]

    def _baselines(self) -> str:
        """The chosen options, such as `recent popularity with days 7, EASE with l2 100`."""
        found = self.metrics["baselines"].items()
        return ", ".join(f"{name} with {option} {v:g}" for name, options in found for option, v in options.items())


@sentences()
def train(
    output_dir: str,
    config: str | None = None,
    seed: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
    refit: bool = False,
    from_scratch: bool = False,
) -> TwoTowerResult:
    """Train the two-tower model on the rows of a run and of its periods.

    If there are periods, it warm-starts from the existing model, if that fits and has not seen all of train.

    Args:
        output_dir: of the run.
        config: a YAML file; its `two_tower`, `embeddings` and `seed` override the run's.
        seed: of the weights, the order of rows and the dropout; that of the settings by default.
        resume: whether to continue an interrupted training.
        overwrite: whether to replace an existing model.
        say: is told each step.
        refit: whether to train again on all splits at the end, for as many epochs; also a setting.
        from_scratch: whether to start with random weights, whatever model there is; also a setting.

    Raises:
        InputError: if there is no run, a setting is wrong or differs from the run's, the training or validation split
            is empty, there are too few videos or users, or a model exists already.
    """
    folder = ModelFolder(output_dir, FOLDER)
    with folder.writing(overwrite), timeline.held(output_dir) as splits:
        chosen = model_folders.settings_for(splits.newest, config, seed, FOLDER if refit else None)
        chosen = chosen.replace({"two_tower": {"warm_start": False}}) if from_scratch else chosen
        metrics = _train(splits, folder, chosen, resume, say)
    return TwoTowerResult(folder, metrics)


def _train(
    splits: Timeline, folder: ModelFolder, chosen: Settings, resume: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train and commit the model; return its metrics."""
    made_by = splits.described()
    for text in splits.told(FOLDER):
        say(text)
    start = warm_start.find(folder, splits, chosen, say)
    rows = TwoTowerRows(splits.since(start.fitted) if start else splits, *features_for(chosen))
    rows.check(chosen.two_tower.batch_size)
    if chosen.split.kind == "random_per_user":
        say("The split is random: the model reads nothing of the past, which holds what it is judged on")
    begun = {"start": start.described()} if start else {}
    folder.begin(resume, {**made_by, **begun, "settings": chosen.model_dump(mode="json")})
    fits = dict(_fits(folder, rows, chosen, resume, say, start))
    say("Judging")
    baselines = Baselines(rows, chosen.two_tower.eval_users, chosen.seed)
    metrics = {split: _judged(rows, fits, baselines, split, chosen) for split in ("val", "test")}
    metrics["baselines"] = baselines.described()
    metrics["training"] = {name: _described(fit.state) for name, fit in fits.items()}
    metrics["training"][FOLDER] |= rows.reading.described()
    main = fits[FOLDER]
    metrics["refit"] = {}
    if chosen.two_tower.refit:
        warm_start.keep_judged(main, folder.work)
        epochs = main.state.best_epoch if start is None else max(main.state.best_epoch, 1)
        begin = start and warm_start.after(main)
        if metrics["test"]:
            say(f"Training again on {'train and val' if start is None else 'val'}, to judge test as baselines can")
            both = _of_refit(rows, SPLITS[:2], start, chosen)
            fit = _fit(folder.work / "train_and_val", both, chosen, resume, say, begin, epochs)
            metrics["test"] |= _judged(rows, {FOLDER: fit}, baselines, "test", chosen, SPLITS[:2])
        used = _of_refit(rows, SPLITS, start, chosen)
        say(f"Training again on {'all splits' if start is None else 'val and test'}")
        main = _fit(folder.work / "refit", used, chosen, resume, say, begin, epochs)
        metrics["refit"] = {"rows": len(used.times(*used.fitted)), "splits": list(used.fitted), "epochs": epochs}
    main.model.save(folder.work)
    warm_start.keep(main, folder.work)
    _write(folder, MODEL, main.model.description() | made_by | begun | {"versions": {"keras": keras.__version__}})
    _write(folder, METRICS, metrics)
    folder.commit()
    return metrics


def _of_refit(rows: TwoTowerRows, splits: tuple[str, ...], start: Start | None, chosen: Settings) -> TwoTowerRows:
    """The rows of a refit: all of some splits, or after a warm start those that the model has not seen."""
    if start is None:
        return rows.fitting(*splits)
    return rows.fitting(*splits[1:], after=splits[:1], replay=chosen.two_tower.replay)


def _fits(
    folder: ModelFolder,
    rows: TwoTowerRows,
    chosen: Settings,
    resume: bool,
    say: Callable[[str], None],
    start: Start | None,
) -> Iterator[tuple[str, Fit]]:
    """The trained model, and for the comparison, which a warm start skips, the one without titles."""
    if start is not None:
        fresh = rows.fitting(NEW, after=(OLD,), replay=chosen.two_tower.replay)
        yield FOLDER, _fit(folder.work, fresh, chosen, resume, say, start)
        return
    yield FOLDER, _fit(folder.work, rows, chosen, resume, say)
    plain = chosen.replace({"two_tower": dict(title=False)})
    if chosen.two_tower.compare_title and features_for(plain) != features_for(chosen):
        say("Again without titles, to compare")
        work = folder.work / "without_titles"
        yield f"{FOLDER} {WITHOUT_TITLE}", _fit(work, rows, plain, resume, say)


def _fit(
    work: pathlib.Path,
    rows: TwoTowerRows,
    chosen: Settings,
    resume: bool,
    say: Callable[[str], None],
    start: Start | None = None,
    epochs: int | None = None,
) -> Fit:
    """Train a model until val no longer improves, or for a number of epochs."""
    keras.utils.set_random_seed(chosen.seed % 2**32)
    query, candidate = features_for(chosen)
    large = [feature for feature in (*query, *candidate) if feature.op.is_large]
    shapes = {f.name: f.op.shape(chosen) or () for f in large}
    widths = {f.name: rows.videos[f.name].shape[1] if f in candidate else shapes[f.name][0] for f in large}
    if start is None:
        fit = Fit(TwoTower(query, candidate, rows.categories, widths, chosen), rows, work, say)
    else:
        fit = Fit(growth.larger(start.model, rows.categories, chosen), rows, work, say, start.slots)
    if resume:
        fit.resume()
    if epochs is None:
        fit.run()
    else:
        fit.repeat(epochs)
    return fit


def _judged(
    rows: TwoTowerRows,
    fits: dict[str, Fit],
    baselines: Baselines,
    split: str,
    chosen: Settings,
    fitted: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The table of one split: models and baselines, all on the same users; empty where none has a new positive.

    With `fitted` it is of models, and of baselines that can be, fitted on train and val.
    """
    judged = rows.judgements(split, chosen.two_tower.eval_users, chosen.seed)
    if not len(judged):
        return {}
    queries = rows.queries(split, judged.users)
    others = baselines.fitted_on(fitted, judged) if fitted else baselines.scorers(split, judged)
    scorers = {name: fit.scorer(queries) for name, fit in fits.items()} | others
    scorers = {f"{name} {OF_BOTH}": scorer for name, scorer in scorers.items()} if fitted else scorers
    found = {}
    for name, scorer in scorers.items():
        ranked = retrieval_evaluation.rank(scorer, judged, chosen.seed)
        found[name] = retrieval_evaluation.table(ranked, judged, chosen.seed)
        found[name][WARM] = retrieval_evaluation.warm_alone(scorer, judged, chosen.seed)
    return found


def _described(state: State) -> dict[str, Any]:
    rate = state.examples / state.seconds if state.seconds else None
    return dataclasses.asdict(state) | {"examples_per_second": rate}


def _write(folder: ModelFolder, name: str, value: Any) -> None:
    (folder.work / name).write_text(to_json(value))
