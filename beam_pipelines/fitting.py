"""Rows to fit on: training rows of users and exposures, and the catalogue."""

from collections.abc import Iterator

import pyarrow as pa

from recsys_tft.beam_pipelines import state
from recsys_tft.beam_pipelines.elements import TaggedOutput
from recsys_tft.beam_pipelines.job import Job
from recsys_tft.columns import HISTORY
from recsys_tft.examples import examples, fitting_rows, negatives, ranker_examples
from recsys_tft.examples.negatives import Lately
from recsys_tft.features import Entity
from recsys_tft.labelling import labels, split_times
from recsys_tft.storage import arrow_ipc


def of_users(
    found: examples.Labelled, exposures: pa.Table, users: pa.Table, job: Job, lately: Lately | None = None
) -> Iterator[TaggedOutput]:
    """The users of a partition whose first exposures in the training split are among these."""
    for rows in fitting_rows.of_users(users, found.period.new_users, exposures, job.settings.table, lately):
        yield TaggedOutput("analysis", (Entity.USER, arrow_ipc.dumps(rows)))


def of_exposures(exposures: pa.Table, since: int | None = None) -> Iterator[TaggedOutput]:
    """Some exposures; vocabularies count those from `since` on."""
    besides = (*HISTORY, examples.COUNTED_VIDEO, examples.DISLIKED, ranker_examples.DRAWS)  # nothing is fitted on them
    rows = exposures.select([name for name in exposures.column_names if name not in besides])
    yield TaggedOutput("analysis", (Entity.EXPOSURE, arrow_ipc.dumps(fitting_rows.of_exposures(rows, since))))


def make_catalogue(
    exposures: split_times.Histogram,
    counts: dict[str, int],
    cuts: split_times.Cuts | None,
    lately: split_times.Histogram | None = None,
    *,
    job: Job,
) -> negatives.Catalogue:
    """The catalogue of the training split; with `retire_after` it marks the videos that were seen lately.

    Raises:
        InputError: as `labels.check_training` and `fitting_rows.check_seen`.
    """
    labels.check_training(counts, job.settings)
    since = fitting_rows.seen_from(cuts, job.settings)
    seen = None if lately is None or since is None else Lately(since, lately[0])
    if seen:
        fitting_rows.check_seen(len(seen.keys) > 0, seen.since, job.settings)
    catalogue = negatives.Catalogue(*exposures, job.settings.ranker.popularity_alpha, seen)
    state.write_catalogue(catalogue, job)
    state.write_fitted_videos(seen.keys if seen else catalogue.video_ids, job)
    return catalogue
