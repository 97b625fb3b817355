"""`recsys-tft verify --online`: online values for rows on disk, from a log replayed through the state."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft import ids
from recsys_tft.configuration.settings import Settings
from recsys_tft.features import Entity, Feature
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.verifying import online_matches, replay
from recsys_tft.verifying.raw_matches import Matches
from recsys_tft.verifying.replay import Known, RowKeys

_KEYS = ("user_id", "video_id", "interaction_time")


@dataclasses.dataclass(frozen=True)
class Online:
    """Online values for [n] rows on disk.

    Attributes:
        asked: the rows.
        known: their online values.
        raw: the raw tables.
        settings: of the run.
    """

    asked: RowKeys
    known: Known
    raw: RawRows
    settings: Settings

    def matches(
        self, by_entity: Mapping[Entity, Sequence[Feature]], batch: Matches, videos: pa.Table
    ) -> Iterator[tuple[Matches, list[Feature]]]:
        """Raw rows, and the features of them that change with events.

        Args:
            by_entity: all features.
            batch: the exposures of the main job, for columns that events do not change.
            videos: raw rows by increasing `video_id`, or versions of them.
        """
        exposures = online_matches.by_exposure(batch, self.known)
        of_videos = online_matches.by_video(videos, self.asked, self.known)
        live = {
            entity: [feature for feature in features if online_matches.is_live(feature, self.raw.counted)]
            for entity, features in by_entity.items()
        }
        yield exposures, live.get(Entity.EXPOSURE, [])
        yield of_videos, live.get(Entity.VIDEO, [])
        delay = self.settings.counters.delay_microseconds
        of_pairs = live.get(Entity.PAIR, [])
        yield from online_matches.by_pairs(of_pairs, exposures, of_videos, self.raw, self.asked, self.known, delay)


def replayed(
    folders: Sequence[Mapping[str, np.ndarray]],
    raw: RawRows,
    cuts: Cuts | None,
    settings: Settings,
    at_once: int | None = None,
) -> Iterator[Online]:
    """Replay the events once, and yield the online values for the rows of each folder.

    Args:
        folders: columns of rows on disk, keys among them, with at least one row each.
        raw: the raw tables.
        cuts: where the splits of the run end.
        settings: of the run.
        at_once: how many events are observed at a time; None: all between two rows.

    Raises:
        InputError: as `replay.replay`.
    """
    asked_by_folder = [RowKeys(*(ids.codes_of(pa.array(disk[name])).to_numpy() for name in _KEYS)) for disk in folders]
    fields = ("users", "videos", "times")
    all_asked = RowKeys(*(np.concatenate([getattr(asked, name) for asked in asked_by_folder]) for name in fields))
    known = replay.replay(raw, cuts, settings, all_asked, at_once) if len(all_asked) else None
    for asked, end in zip(asked_by_folder, np.cumsum(list(map(len, asked_by_folder))), strict=True):
        assert known is not None  # as each has a row
        yield Online(asked, known.of(int(end) - len(asked), len(asked)), raw, settings)
