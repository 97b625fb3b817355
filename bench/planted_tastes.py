"""How much of the planted tastes both models recover: `python -m bench.planted_tastes --output-dir output`.

The output is that of `recsys-tft run --synthetic`, with both models trained. The best possible scores are those of
someone who knows the generator: the probability e that a user is shown a video, and the probability p that the user
then reacts by a rule that counts. Retrieval is best by e p; a row of the ranker by its odds of being a positive (e p)
rather than an exposed negative (e (1 - p)) or a drawn one (uniform).

No model knows a user's taste but from what they did. "Tastes from the past" is the score of someone who knows all the
rest of the generator, and takes for a taste what is to be expected after the user's positives of train and val.
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


class Generator:
    """What the generator knows.

    Args:
        manifest: of a synthetic run.
    """

    def __init__(self, manifest: dict):
        counts, chosen = manifest["counts"], manifest["settings"]
        sizes = {name: counts[f"rows/{name}/in"] for name in ("users", "videos")}
        self.world = synthetic_world.plant(**sizes, seed=chosen["seed"])
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

    def with_tastes_from(self, users: np.ndarray, videos: np.ndarray) -> "Generator":
        """The same with the mean of the tastes after [n] positives, by the ids of their users and videos."""
        found = np.zeros_like(self.world.taste)
        np.add.at(found, (users - 1, self.world.category[videos - 1]), 1 - synthetic.EXPLORED)
        found += synthetic_world.CONCENTRATION
        other = copy.copy(self)
        other.world = dataclasses.replace(self.world, taste=found / found.sum(axis=1, keepdims=True))
        return other

    def reaction(self, users: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """[n] the probability of a click, or 1 where an impression counts."""
        liking = self.world.affinity(users, videos)
        return 0.05 + 0.8 * liking if self._engaged else np.ones(len(liking))


def retrieval(output_dir: str, truth: Generator) -> None:
    """NDCG@10 on test."""
    model = two_tower.load(output_dir)
    rows = TwoTowerRows(output_dir, model.query_features, model.candidate_features)
    judged = rows.judgements("test", 2000, 0)
    ids = rows.video_ids
    query = encode(tf.function(model.query), rows.queries("test", judged.users), model.query_features)
    candidate = encode(tf.function(model.candidate), rows.videos, model.candidate_features)

    def known(knows: Generator, users: np.ndarray) -> np.ndarray:
        found = [
            knows.shown(user)[ids - 1] * knows.reaction(np.full(len(ids), user), ids) for user in judged.users[users]
        ]
        return np.stack(found)

    past_users, past_videos = rows.pairs("train", "val")
    guessed = truth.with_tastes_from(past_users, ids[past_videos])

    def affinity(users: np.ndarray) -> np.ndarray:
        return np.stack([truth.world.affinity(np.full(len(ids), user), ids) for user in judged.users[users]])

    scorers = {
        "best possible": lambda users: known(truth, users),
        "tastes from the past": lambda users: known(guessed, users),
        "two_tower": lambda users: query[users] @ candidate.T,
        "popularity": retrieval_baselines.popularity(rows.counts),
        "affinity alone": affinity,
    }
    for name, scorer in scorers.items():
        found = retrieval_evaluation.table(retrieval_evaluation.rank(scorer, judged, 0), judged, 0)["all"]
        print(f"{name:20}", *(f"{metric} {estimate['value']:.4f}" for metric, estimate in found.items()))


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
