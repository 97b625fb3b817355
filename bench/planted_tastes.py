"""How much of the planted tastes both models recover: `python -m bench.planted_tastes --output-dir output`.

The output is that of `recsys-tft run --synthetic`, with both models trained. The best possible scores are those of
someone who knows the generator: the probability e that a user is shown a video, and the probability p that the user
then reacts by a rule that counts. Retrieval is best by e p; a row of the ranker by its odds of being a positive (e p)
rather than an exposed negative (e (1 - p)) or a drawn one (uniform).

No model knows a user's taste but from what they did. "Tastes from the past" is the score of someone who knows all the
rest of the generator, and takes for a taste what is to be expected after the user's positives of train and val.
"Counted" knows what the tables say alone: those tastes relative to the usual one, times the training rows of the video
in the time since it was published, times how much more often than by chance its language meets the user's.

Rows of train are weighted by their labels, while NDCG counts all positives alike. "By weight" is a score that is best
for weighted rows, and "graded" is NDCG with the weights of the positives as their gains.
"""

import argparse
import copy
import dataclasses

import numpy as np
import tensorflow as tf

from recsys_tft.ranking import ranking_metrics, trained_ranker
from recsys_tft.retrieval import retrieval_baselines, retrieval_evaluation, two_tower
from recsys_tft.retrieval.two_tower_rows import TwoTowerRows, encode
from recsys_tft.run_layout import run_folders
from recsys_tft.tables import synthetic, synthetic_world
from recsys_tft.training import training_rows


class Generator:
    """What the generator knows.

    Args:
        manifest: of a synthetic run.
    """

    def __init__(self, manifest: dict):
        counts, chosen = manifest["counts"], manifest["settings"]
        sizes = {name: counts[f"rows/{name}/in"] for name in ("users", "videos")}
        self.world = synthetic_world.plant(**sizes, seed=chosen["seed"])
        positive = chosen["labels"]["positive"]
        self._weights = [positive.get(name, 0.0) for name in ("impression", "click", "watch")]
        self._watched = chosen["ranker"]["min_watch_ratio"]
        self._engaged = "impression" not in chosen["labels"]["positive"]
        self._by_category = [np.flatnonzero(self.world.category == c) for c in range(self.world.taste.shape[1])]

    def shown(self, user: int) -> np.ndarray:
        """[videos] the probability with which one shown video is this one, nearly: as if all candidates were seen."""
        world, row = self.world, user - 1
        explored = synthetic.EXPLORED
        category = (1 - explored) * world.taste[row] + explored / len(self._by_category)
        videos = np.arange(len(world.popularity))
        weight = world.popularity * world.understood(np.full(len(videos), row), videos)
        found = np.zeros(len(weight))
        for share, own in zip(category, self._by_category, strict=True):
            found[own] = share * weight[own] / max(weight[own].sum(), 1e-300)
        return found

    def with_tastes_from(self, users: np.ndarray, videos: np.ndarray, counted: np.ndarray | float = 1.0) -> "Generator":
        """The same with the mean of the tastes after [n] positives, by the ids of their users and videos.

        Each counts as one, or as so many.
        """
        found = np.zeros_like(self.world.taste)
        np.add.at(found, (users - 1, self.world.category[videos - 1]), (1 - synthetic.EXPLORED) * counted)
        found += synthetic_world.CONCENTRATION
        other = copy.copy(self)
        other.world = dataclasses.replace(self.world, taste=found / found.sum(axis=1, keepdims=True))
        return other

    def reaction(self, users: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """[n] the probability of a click, or 1 where an impression counts."""
        liking = self.world.affinity(users, videos)
        return 0.05 + 0.8 * liking if self._engaged else np.ones(len(liking))

    def weight(self, users: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """[n] the expected weight of a shown row, 0 if it is no positive; likes of what is not watched are left out."""
        liking, (shown, clicked, watched) = self.world.affinity(users, videos), np.maximum.accumulate(self._weights)
        clicks = 0.05 + 0.8 * liking
        return shown + clicks * (clicked - shown + (watched - clicked) * (1 - self._watched ** (0.3 + 3 * liking)))

    def languages_met(self, users: np.ndarray, videos: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """[languages, videos] how much more often than by chance users of a language are shown that of each video.

        Args:
            users: [n] ids of training rows.
            videos: [n] ids of the same.
            weights: [n] of the same.
        """
        found = np.zeros((len(synthetic_world.LANGUAGES),) * 2)
        np.add.at(found, (self.world.language[users - 1], self.world.video_language[videos - 1]), weights)
        chance = found.sum(axis=1, keepdims=True) * found.sum(axis=0) / found.sum()
        return ((found + 2) / (chance + 2))[:, self.world.video_language]


def graded(ranks: np.ndarray, owners: np.ndarray, gains: np.ndarray, users: int) -> float:
    """The mean over users of NDCG@10 with gains.

    Args:
        ranks: [p] int64 from 1, of relevant pairs.
        owners: [p] int64 users of the pairs, increasing.
        gains: [p] above 0.
        users: how many there are.
    """
    best = np.lexsort((-gains, owners))
    place = 1 + np.arange(len(owners)) - np.searchsorted(owners, owners)
    found, ideal = (
        np.bincount(owners, np.where(at <= 10, of / np.log2(1 + at), 0), users)
        for at, of in ((ranks, gains), (place, gains[best]))
    )
    return float((found / ideal).mean())


def gains(rows: TwoTowerRows, judged: retrieval_evaluation.Judgements) -> np.ndarray:
    """[p] float32: the largest weight of the rows of each relevant pair of test."""
    weights = training_rows.columns(rows.timeline.folder("two_tower", "test"), ["weight"])["weight"]
    users, videos = rows.pairs("test")
    codes = users * rows.candidates + videos
    order = np.lexsort((-weights, codes))
    asked = judged.users[judged.owners] * rows.candidates + judged.relevant.indices
    return weights[order][np.searchsorted(codes[order], asked)]


def retrieval(output_dir: str, truth: Generator) -> None:
    """NDCG@10 on test."""
    model = two_tower.load(output_dir)
    rows = TwoTowerRows(output_dir, model.query_features, model.candidate_features)
    judged = rows.judgements("test", 2000, 0)
    ids = rows.video_ids
    query = encode(tf.function(model.query), rows.queries("test", judged.users), model.query_features)
    candidate = encode(tf.function(model.candidate), rows.videos, model.candidate_features)

    def known(knows: Generator, users: np.ndarray, by_weight: bool) -> np.ndarray:
        of = knows.weight if by_weight else knows.reaction
        return np.stack([knows.shown(user)[ids - 1] * of(np.full(len(ids), user), ids) for user in judged.users[users]])

    past_users, past_videos = rows.pairs("train", "val")
    guessed = truth.with_tastes_from(past_users, ids[past_videos])
    weights = np.concatenate([
        training_rows.columns(rows.timeline.folder("two_tower", split), ["weight"])["weight"]
        for split in ("train", "val")
    ])  # fmt: skip

    def counted(counts: np.ndarray) -> retrieval_baselines.Scorer:
        tastes = truth.with_tastes_from(past_users, ids[past_videos], counts / counts.mean()).world.taste
        train, category = slice(len(rows.pairs("train")[0])), truth.world.category[ids - 1]
        popular = np.bincount(past_videos[train], counts[train], len(ids))
        usual = np.bincount(category, popular, tastes.shape[1]) / popular.sum()
        met = truth.languages_met(past_users[train], ids[past_videos[train]], counts[train])[:, ids - 1]
        since = np.sort(rows.times("train")).searchsorted(truth.world.published[ids - 1]) / max(train.stop, 1)
        each = (popular + 0.1) / usual[category] / np.maximum(1 - since, 0.02)

        def scores(users: np.ndarray) -> np.ndarray:
            row = judged.users[users] - 1
            return tastes[row][:, category] * each * met[truth.world.language[row]]

        return scores

    def affinity(users: np.ndarray) -> np.ndarray:
        return np.stack([truth.world.affinity(np.full(len(ids), user), ids) for user in judged.users[users]])

    scorers = {
        "best possible": lambda users: known(truth, users, False),
        "best possible, by weight": lambda users: known(truth, users, True),
        "tastes from the past": lambda users: known(guessed, users, False),
        "tastes from the past, by weight": lambda users: known(guessed, users, True),
        "counted": counted(np.ones(len(weights))),
        "counted, by weight": counted(weights),
        "two_tower": lambda users: query[users] @ candidate.T,
        "popularity": retrieval_baselines.popularity(rows.counts),
        "affinity alone": affinity,
    }
    worth = gains(rows, judged)
    for name, scorer in scorers.items():
        ranked = retrieval_evaluation.rank(scorer, judged, 0)
        found = retrieval_evaluation.table(ranked, judged, 0)["all"]
        values = {metric: estimate["value"] for metric, estimate in found.items()}
        values["graded"] = graded(ranked.ranks, judged.owners, worth, len(judged))
        print(f"{name:32}", *(f"{metric} {value:.4f}" for metric, value in values.items()))


def ranking(output_dir: str, truth: Generator, counts: dict[str, int]) -> None:
    """AUC on test."""
    ranker = trained_ranker.load(output_dir)
    rows = ranker.rows("test")
    users, videos, labels = (rows.keys[name] for name in ("user_id", "video_id", "label"))
    owners, number = rows.owners()
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    shown = np.concatenate([
        truth.shown(users[start])[videos[start:end] - 1]
        for start, end in zip(starts, np.append(starts[1:], len(users)), strict=True)
    ])  # fmt: skip
    p = truth.reaction(users, videos)
    exposures = counts["sources/test/positive"] + counts["sources/test/exposed"]
    drawn = counts["sources/test/sampled"] / exposures / counts["rows/videos/in"]
    known = {
        "best possible": shown * p / (shown + drawn),
        "ranker": ranker.scores(rows),
        "affinity alone": truth.world.affinity(users, videos),
    }
    for name, values in known.items():
        per_user = np.nanmean(ranking_metrics.auc_per_user(owners, labels, values, number))
        print(f"{name:16} auc {ranking_metrics.auc(labels, values):.4f} auc per user {per_user:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", default="output")
    options = parser.parse_args()
    manifest = run_folders.manifest(options.output_dir)
    truth = Generator(manifest)
    retrieval(options.output_dir, truth)
    ranking(options.output_dir, truth, manifest["counts"])


if __name__ == "__main__":
    main()
