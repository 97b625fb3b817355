"""Whether a CatBoost ranker that goes on after a refresh is worth as much as one that begins with nothing.

    python -m bench.warm_ranker --output-dir bench_data/drifting/out

The output has periods, as `python -m bench.warm --folder bench_data` leaves it. After each period one CatBoost is
fitted on all of train, and one goes on (`init_model`) from that of the period before with the rows new to it; both stop
by val. Prints AUC and log loss on the rows of test that were shown, the difference of the log loss with a 95 %
interval (bootstrap over users), trees, and CPU seconds.
"""

import argparse
import dataclasses
import time
from collections.abc import Sequence

import catboost
import numpy as np
from scipy import special

from recsys_tft.configuration.settings import Settings
from recsys_tft.ranking import catboost_ranker, ranker_rows, ranking_metrics, tastes
from recsys_tft.ranking.ranker_rows import SHOWN, RankerRows
from recsys_tft.run_layout import periods
from recsys_tft.training import bootstrap, model_folders, timeline
from recsys_tft.training.timeline import NEW


@dataclasses.dataclass
class Arm:
    """One way to train, and what it led to in all periods: of each row of test its user, label and probability."""

    name: str
    goes_on: bool
    model: catboost.CatBoost | None = None
    users: list[np.ndarray] = dataclasses.field(default_factory=list)
    labels: list[np.ndarray] = dataclasses.field(default_factory=list)
    scores: list[np.ndarray] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def train(self, new: RankerRows, train: RankerRows, val: RankerRows, chosen: Settings) -> None:
        """The next model."""
        starts = self.goes_on and self.model is not None
        sampled = chosen.ranker.sampled_weight
        own, stop = (catboost_ranker.pool(rows, True, sampled) for rows in (new if starts else train, val))
        options = catboost_ranker.parameters(chosen.ranker) | {"random_seed": 0, "logging_level": "Silent"}
        model, before = catboost.CatBoost(options | {"allow_writing_files": False}), self.model if starts else None
        began = time.process_time()
        patience = chosen.ranker.early_stopping_rounds
        model.fit(own, eval_set=stop, use_best_model=True, early_stopping_rounds=patience, init_model=before)
        self.seconds += time.process_time() - began
        self.model = model

    def judge(self, test: RankerRows) -> None:
        """Scores rows that no model has seen."""
        self.users.append(test.keys["user_id"])
        self.labels.append(test.keys["label"])
        self.scores.append(special.expit(catboost_ranker.raw_scores(self.model, test)))

    def losses(self) -> np.ndarray:
        """Of each row."""
        return ranking_metrics.log_loss(*map(np.concatenate, (self.labels, self.scores)))


def measure(output_dir: str, arms: Sequence[Arm]) -> None:
    """Both arms after each period."""
    known: Sequence[str] = ()
    for name in periods.folders(output_dir):
        with timeline.held(output_dir, name) as held:
            splits = held.since(known)
            chosen = model_folders.settings_for(splits.newest, None, None)
            # Tastes are fitted anew each time, which a model that goes on could not follow.
            features = [f for f in ranker_rows.features_for(chosen) if not {*f.sources} & {*tastes.KEYS}]
            columns = ranker_rows.columns_of(features, chosen)
            used = (NEW, "train", "val", "test")
            new, train, val, test = (ranker_rows.read(splits, split, features, columns) for split in used)
            known = splits.names("train")
        for arm in arms:
            arm.train(new, train, val, chosen)
            arm.judge(test.take(test.keys[SHOWN]))


def show(arms: Sequence[Arm]) -> None:
    """A table."""
    base = arms[0].losses()
    _, owners = np.unique(np.concatenate(arms[0].users), return_inverse=True)
    print("| arm | AUC | log loss | difference | trees | CPU s |\n|---|---|---|---|---|---|")
    for arm in arms:
        auc = ranking_metrics.auc(*map(np.concatenate, (arm.labels, arm.scores)))
        gap = bootstrap.ratio(np.bincount(owners, arm.losses() - base), np.bincount(owners).astype(np.float64))
        told = "" if arm is arms[0] else f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
        assert arm.model is not None
        trees = arm.model.tree_count_
        print(f"| {arm.name} | {auc:.4f} | {arm.losses().mean():.4f} | {told} | {trees} | {arm.seconds:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", required=True)
    options = parser.parse_args()
    arms = (Arm("from nothing", goes_on=False), Arm("goes on", goes_on=True))
    measure(options.output_dir, arms)
    show(arms)


if __name__ == "__main__":
    main()
