"""Answers parsed requests with the recommender, several at a time."""

import asyncio
import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_tft.errors import InputError, reason
from recsys_tft.online.redis_log import LostError
from recsys_tft.recommending import recommendation_report as report
from recsys_tft.recommending.live_store import Observed
from recsys_tft.recommending.recommender import Recommendations, Recommender
from recsys_tft.recommending.request import Wanted
from recsys_tft.server import bodies
from recsys_tft.server.batching import Batches, Full
from recsys_tft.server.bodies import Refused
from recsys_tft.server.exports import Exports
from recsys_tft.server.metrics import Metrics
from recsys_tft.serving.c_library import GraphError

THREADS = min(2, os.cpu_count() or 1)  # more would only wait for the GIL
MOST_WAITING = 512  # requests; at 150 a second the last one waits for more than three seconds
_EVENTS_TOGETHER = 32  # requests with events in a batch, each of at most 1,000


@dataclasses.dataclass(frozen=True)
class _Ask:
    """A request for recommendations, and the recommender of the export at its arrival, which answers it."""

    recommender: Recommender
    wanted: Wanted
    explains: bool


@dataclasses.dataclass(frozen=True)
class _Answer:
    found: Recommendations
    reasons: report.Reasons | None


class Service:
    """Answers requests.

    Args:
        exports: the served export.
        batch: the largest number of requests in a batch.

    Attributes:
        exports: the served export.
        metrics: of the server.
    """

    def __init__(self, exports: Exports, batch: int = 16):
        self.exports, self.metrics = exports, Metrics()
        self._batches: Batches[_Ask, _Answer] = Batches(self._answer, batch, MOST_WAITING, THREADS)
        self._events: Batches[list[Any], Observed] = Batches(self._observe_each, _EVENTS_TOGETHER, MOST_WAITING)
        self.metrics.waiting.set_function(lambda: self._batches.waiting)
        self.metrics.version.set_function(lambda: exports.current.version)

    async def recommend(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to `POST /recommend`.

        Raises:
            Refused: if the request is wrong, or too many are waiting.
        """
        recommender = self.exports.current
        ask = _Ask(recommender, bodies.read_request(body, recommender), bodies.explains(body))
        try:
            if ask.explains:
                await asyncio.to_thread(recommender.load_explainer)
            answer = await self._batches.ask(ask)
        except Full:
            raise Refused(503, f"{MOST_WAITING} requests are waiting already; try again later.") from None
        except InputError as error:
            raise Refused(503 if _is_lost(error) else 422, str(error)) from None
        except GraphError as error:
            raise Refused(422, f"{reason(error)}.") from None
        return report.as_json(answer.found, recommender.version, answer.reasons)

    async def observe(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to `POST /events`.

        Raises:
            Refused: if the request is wrong, events cannot be taken, or none of them can be used.
        """
        events = bodies.events(body)
        try:
            found = await self._events.ask(events)
        except Full:
            raise Refused(503, f"{MOST_WAITING} requests with events are waiting already; try again later.") from None
        except InputError as error:
            raise Refused(503 if _is_lost(error) else 501, str(error)) from None
        self.metrics.observed(found)
        rejected = [{"index": each.index, "reason": each.reason} for each in found.rejected]
        answer = {"applied": found.applied, "repeated": found.repeated, "rejected": rejected}
        if rejected and not found.applied and not found.repeated:
            first = rejected[0]
            raise Refused(422, f"No event can be used; event {first['index']}: {first['reason']}.", answer)
        return answer

    def _observe_each(self, given: Sequence[list[Any]]) -> list[Observed | Exception]:
        """The results of lists of events, which are taken together."""
        try:
            return list(self.exports.observe_each(given))
        except Exception as error:  # any error is the answer to the client
            if len(given) == 1 or isinstance(error, InputError):
                return [error for _ in given]
            return [self._observe_each([events])[0] for events in given]  # as in `_of_one_export`

    def _answer(self, asked: Sequence[_Ask]) -> list[_Answer | Exception]:
        """The answers to a batch of requests; those of one export are answered together."""
        return [
            answer
            for recommender, group in itertools.groupby(asked, key=lambda ask: ask.recommender)
            for answer in self._of_one_export(recommender, list(group))
        ]

    def _of_one_export(self, recommender: Recommender, asked: Sequence[_Ask]) -> list[_Answer | Exception]:
        try:
            found = recommender.recommend_each([ask.wanted for ask in asked])
        except Exception as error:  # any error is the answer to the client
            if len(asked) == 1:
                return [error]
            return [
                self._of_one_export(recommender, [ask])[0] for ask in asked
            ]  # so that only the faulty request fails
        self.metrics.batched(len(asked), found[0].seconds)
        return [_explained(ask, each) for ask, each in zip(asked, found, strict=True)]

    async def renew(self) -> None:
        """Switch to a newer export, if there is one."""
        if await asyncio.to_thread(self.exports.renew):
            self.metrics.reloads.inc()

    async def close(self) -> None:
        """Answer the waiting requests."""
        await asyncio.to_thread(self._batches.close)
        await asyncio.to_thread(self._events.close)


def _is_lost(error: BaseException) -> bool:
    """Whether Redis does not answer."""
    return isinstance(error, LostError) or isinstance(error.__cause__, LostError)


def _explained(ask: _Ask, found: Recommendations) -> _Answer | Exception:
    if not ask.explains:
        return _Answer(found, None)
    request, videos = ask.wanted.request, [item.video_id for item in found.items]
    try:
        reasons = ask.recommender.explain(request.user_id, videos, request.time, **request.given) if videos else []
        return _Answer(found, reasons)
    except Exception as error:  # as above
        return error
