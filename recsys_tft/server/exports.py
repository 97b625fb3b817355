"""The served export, and the switch to a newer one without interruption."""

import itertools
import json
import pathlib
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsys_tft.errors import InputError
from recsys_tft.faults import sentences
from recsys_tft.recommending.recommender import Recommender
from recsys_tft.run_layout.state_files import DESCRIPTION, STATE
from recsys_tft.serving import serving_folders

if TYPE_CHECKING:
    from recsys_tft.recommending.live_store import Observed


class Exports:
    """The newest export of a run, loaded.

    Args:
        output_dir: of the run.
        load: makes the recommender of the newest export, or of the only one to serve.
        is_pinned: whether to ignore later exports.
        keeps_events: whether a newer recommender has the events of an older one, as with Redis.
        say: is told of a switch, or why there is none.

    Attributes:
        current: the recommender; it may still be used after a switch.
        is_pinned: as given.

    Raises:
        InputError: as `Recommender`.
    """

    def __init__(
        self,
        output_dir: str,
        load: Callable[[], Recommender],
        is_pinned: bool = False,
        keeps_events: bool = False,
        say: Callable[[str], None] = print,
    ):
        self._output_dir, self._load, self._keeps_events, self._say = output_dir, load, keeps_events, say
        self.is_pinned = is_pinned
        self._tree = self._now()
        self.current = self._load()
        self._changing, self._observing = threading.Lock(), threading.Lock()
        self._observed: list[bytes] = []  # events for a newer export

    def _now(self) -> pathlib.Path | None:
        """The current tree of versions, which each export replaces."""
        folder = serving_folders.serving_folder(self._output_dir) / serving_folders.STORE
        return folder.resolve() if folder.exists() else None

    @property
    def takes_events(self) -> bool:
        """Whether there is a state for events."""
        return pathlib.Path(self._output_dir, STATE, DESCRIPTION).is_file()

    def observe_each(self, given: Sequence[Sequence[Mapping[str, Any]]]) -> "list[Observed]":
        """Like `Recommender.observe`, for [n] lists of events; a newer export gets the events too.

        Raises:
            InputError: as `Recommender.observe`.
        """
        with self._observing:
            with sentences():
                found = self.current.live.observe_each(given)
            if not self.is_pinned and not self._keeps_events and any(each.applied for each in found):
                events = [*itertools.chain.from_iterable(given)]
                self._observed.append(zlib.compress(json.dumps(events).encode(), 1))
        return found

    def _tell(self, newer: Recommender, kept: Sequence[bytes]) -> list[bytes]:
        """Replay events on a newer export; returns those that its state did not have yet."""
        return [each for each in kept if newer.observe(json.loads(zlib.decompress(each))).applied]

    def renew(self) -> bool:
        """Loads what is newer than what is served, which takes seconds; whether there was such.

        What cannot be loaded is told of, and what is served stays.
        """
        with self._changing:
            tree = self._now()
            if self.is_pinned or tree is None or tree == self._tree:
                return False
            try:
                newer = self._load()
                if self._observed:
                    _ = newer.live
            except InputError as error:
                self._say(f"Version {self.current.version} is still served: {error}")
                return False
            finally:
                self._tree = tree
            if newer.version == self.current.version:
                return False
            told = len(self._observed)
            later = self._tell(newer, self._observed[:told])
            with self._observing:
                self._observed = later + self._tell(newer, self._observed[told:])
                self.current = newer
            self._say(f"Serving version {newer.version}")
            return True
