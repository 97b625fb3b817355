"""The baselines of a run, each with the option that is best on val."""

import dataclasses
import functools

import numpy as np

from recsys_tft.labelling.split_times import SPLITS
from recsys_tft.retrieval import retrieval_baselines, retrieval_evaluation
from recsys_tft.retrieval.retrieval_baselines import RECENT_DAYS, Scorer
from recsys_tft.retrieval.retrieval_evaluation import Judgements
from recsys_tft.retrieval.two_tower_rows import TwoTowerRows

EASE_VIDEOS = 20_000  # most videos for EASE, whose weights are quadratic in them
L2 = (100.0, 300.0, 1000.0)
EASE, RECENT = "EASE", "recent popularity"


@dataclasses.dataclass(frozen=True)
class Baselines:
    """The baselines of the retrieval model on the rows of a run.

    Like the model's query, item-kNN and EASE read all of a user's positives in earlier splits. They are fitted on
    training rows.

    Args:
        rows: of the run.
        users: the most users of a split to evaluate.
        seed: of the order of ties, and of the random baseline.
    """

    rows: TwoTowerRows
    users: int
    seed: int

    def scorers(self, split: str, judged: Judgements) -> dict[str, Scorer]:
        """The scorers by name, for the users of a split."""
        return self._of_videos(self.rows, self._ease[1] if self._has_ease else None, judged) | {
            RECENT: self._recent(split, judged, self.days),
            "popularity": retrieval_baselines.popularity(self.rows.counts),
            "random": retrieval_baselines.random(self.rows.candidates, self.seed),
        }

    def fitted_on(self, splits: tuple[str, ...], judged: Judgements) -> dict[str, Scorer]:
        """Item-kNN and EASE fitted on the rows of some splits, with the L2 chosen on val for the training split."""
        rows = self.rows.fitting(*splits)
        weights = retrieval_baselines.ease_weights(rows.history(), self._ease[0]) if self._has_ease else None
        return self._of_videos(rows, weights, judged)

    def _of_videos(self, rows: TwoTowerRows, ease: np.ndarray | None, judged: Judgements) -> dict[str, Scorer]:
        """The scorers by a user's videos: item-kNN, and EASE if it has weights."""
        found = {"item-kNN": retrieval_baselines.item_knn(rows.history(), judged.seen, rows.counts)}
        if ease is not None:
            found[EASE] = retrieval_baselines.ease(ease, judged.seen, rows.counts)
        return found

    @functools.cached_property
    def days(self) -> int:
        """The window of recent popularity, in days."""
        judged = self._val()
        return max(RECENT_DAYS, key=lambda days: self._ndcg(judged, self._recent("val", judged, days)))

    @functools.cached_property
    def _ease(self) -> tuple[float, np.ndarray]:
        """The L2 of EASE, and its weights."""
        judged, history, best = self._val(), self.rows.history(), (-1.0, 0.0, np.zeros((0, 0)))
        for l2 in L2:
            weights = retrieval_baselines.ease_weights(history, l2)
            ndcg = self._ndcg(judged, retrieval_baselines.ease(weights, judged.seen, self.rows.counts))
            best = (ndcg, l2, weights) if ndcg > best[0] else best
        return best[1:]

    def described(self) -> dict[str, dict[str, float]]:
        """The chosen options, by baseline."""
        ease: dict[str, dict[str, float]] = {EASE: {"l2": self._ease[0]}} if self._has_ease else {}
        return {RECENT: {"days": self.days}, **ease}

    @property
    def _has_ease(self) -> bool:
        return self.rows.candidates < EASE_VIDEOS

    def _val(self) -> Judgements:
        return self.rows.judgements("val", self.users, self.seed)

    def _ndcg(self, judged: Judgements, scorer: Scorer) -> float:
        return retrieval_evaluation.ndcg(retrieval_evaluation.rank(scorer, judged, self.seed), judged)

    def _recent(self, split: str, judged: Judgements, days: int) -> Scorer:
        _, videos = self.rows.pairs(*SPLITS)
        moments = self.rows.moments(split, judged.users)
        return retrieval_baselines.recent_popularity(videos, self.rows.times(*SPLITS), moments, self.rows.counts, days)
