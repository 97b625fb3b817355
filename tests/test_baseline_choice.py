"""What test is judged by besides: baselines fitted on train and val."""

import numpy as np
import pytest
from conftest import Ran

from recsys_tft.retrieval import retrieval_baselines, two_tower
from recsys_tft.retrieval.baseline_choice import Baselines
from recsys_tft.retrieval.two_tower_rows import TwoTowerRows
from recsys_tft.training.model_folders import settings_for


@pytest.fixture(scope="module")
def rows(synthetic_run: Ran) -> TwoTowerRows:
    return TwoTowerRows(
        str(synthetic_run.root), *two_tower.features_for(settings_for(str(synthetic_run.root), None, None))
    )


def test_baselines_fitted_on_two_splits_know_both(rows: TwoTowerRows) -> None:
    judged = rows.judgements("test", 10**6, 0)
    both = rows.fitting("train", "val")
    numbers = np.arange(len(judged))
    baselines = Baselines(rows, 10**6, 0)
    found = baselines.fitted_on(("train", "val"), judged)
    pairs = {(user, video) for split in ("train", "val") for user, video in zip(*rows.pairs(split), strict=True)}
    users = sorted({user for user, _ in pairs})
    liked = np.zeros((len(users), rows.candidates))
    for user, video in pairs:
        liked[users.index(user), video] = 1
    np.testing.assert_array_equal(both.history().toarray(), liked)
    gram = np.linalg.inv(liked.T @ liked + baselines.described()["EASE"]["l2"] * np.eye(rows.candidates))
    weights = -gram / np.diag(gram)
    np.fill_diagonal(weights, 0)
    weights[:, liked.sum(axis=0) == 0] = 0
    scores = judged.seen.toarray() @ weights
    np.testing.assert_allclose(found["EASE"](numbers), scores, atol=1e-5)
    of_training = retrieval_baselines.item_knn(rows.history(), judged.seen, rows.counts)(numbers)
    of_both = retrieval_baselines.item_knn(both.history(), judged.seen, both.counts)(numbers)
    np.testing.assert_array_equal(found["item-kNN"](numbers), of_both)
    assert not np.array_equal(of_training, of_both)
