"""The four stages of a recommender on the exported models: retrieval, filtering, ranking, ordering."""

import functools
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from recsys_tft import ids
from recsys_tft.columns import HISTORY
from recsys_tft.errors import InputError
from recsys_tft.faults import sentences
from recsys_tft.recommending import chosen_settings, explanations, filtering, ranker_inputs, request_columns
from recsys_tft.recommending.catalogue import Candidates, Catalogue
from recsys_tft.recommending.entity_store import EntityStore
from recsys_tft.recommending.exact_search import ExactSearch
from recsys_tft.recommending.explanations import Explainer
from recsys_tft.recommending.ordering import arrange
from recsys_tft.recommending.recommendations import Clock, Recommendations
from recsys_tft.recommending.request import Request, Wanted, now
from recsys_tft.recommending.request_log import RequestLog
from recsys_tft.serving import approximate_index, served_models, serving_folders
from recsys_tft.serving.approximate_index import Kind
from recsys_tft.serving.saved_signatures import CONTRIBUTIONS
from recsys_tft.serving.serving_folders import EXPORT_AGAIN
from recsys_tft.serving.serving_rows import Arrow, arrays
from recsys_tft.storage import ownership

if TYPE_CHECKING:
    from recsys_tft.online.event_rows import Given
    from recsys_tft.recommending.live_store import LiveStore, Observed


class Recommender:
    """Four stages on the models under OUTPUT_DIR/serving; loading takes seconds, a request milliseconds.

    Args:
        output_dir: of the run.
        config: a YAML file whose `recommender` options override the run's.
        version: of the export; the newest by default.
        index: an exported approximate index; by default search is exact.
        redis: the address of Redis or Valkey, such as redis://localhost:6379/0, where events are kept and several
            processes share them; by default `observe` keeps them in memory.
        when_lost: behaviour of recommendations when Redis does not answer: `error`, or `stale` for the last known
            state.
        log: a log of requests; none by default.

    Attributes:
        columns: raw columns of a user or the moment that a request may pass.
        kinds: of the ids of users, videos and channels, by key.
        warnings: a sentence for each country of `filters.unavailable` that no user has.

    Raises:
        InputError: if there is no such export or index, or an option is wrong.

    Examples:
        >>> recommender = Recommender("out")
        >>> items = recommender.recommend(5, k=3).items
        >>> len({item.video_id for item in items})
        3
    """

    @sentences()
    def __init__(
        self,
        output_dir: str,
        config: str | None = None,
        version: int | None = None,
        index: Kind | None = None,
        redis: str | None = None,
        when_lost: Literal["error", "stale"] = "error",
        log: RequestLog | None = None,
    ):
        # Held, so that files that are loaded later belong to the same export.
        self._held, self.version = serving_folders.hold_version(output_dir, version)
        root = self._held.folder
        if sentence := ownership.warning(output_dir):
            warnings.warn(sentence, stacklevel=2)
        folders = {name: root / name / str(self.version) for name in (*serving_folders.NAMES, serving_folders.STORE)}
        store = folders[serving_folders.STORE]
        is_exact = index is None and ExactSearch.is_there(store)
        names = ("query_tower" if is_exact or index else "retrieval", "ranker")
        loading = served_models.Loading({name: folders[name] for name in names}, EXPORT_AGAIN)
        self.kinds = request_columns.read_id_kinds(store)
        self.settings = chosen_settings.read_settings(store, config, self.kinds)
        self.columns = request_columns.read_columns(store)
        self.store = EntityStore(store)
        self._catalogue = Catalogue(self.store.all_videos, self.kinds["video_id"])
        self.warnings = tuple(chosen_settings.unknown_countries(self.settings, self.store))
        self._ranker_folder = folders["ranker"]
        extra = folders["retrieval"] / serving_folders.EXTRA
        self._exact = ExactSearch(store, self._catalogue.ranks) if is_exact else None
        self._index = None if index is None else approximate_index.read(extra / f"{index}.faiss")
        self._live: LiveStore | None = None
        self._opening = threading.Lock()
        self._output_dir, self._store_folder = output_dir, store
        self._redis, self._is_patient = redis, when_lost == "stale"
        if redis is not None:
            self._open()  # other processes may have put events there
        self._models = loading.models()
        self._log: RequestLog | None = None
        self.recommend(None, 1)  # the first call of a graph takes a hundred times as long as the others
        self._log = log

    @sentences()
    def recommend(
        self, user_id: int | str | None, k: int = 10, time: int | None = None, **given: Any
    ) -> Recommendations:
        """Recommend the k best videos to a user.

        Args:
            user_id: an id as in the tables; None for an anonymous user. An unknown user is a cold start: served as
                out-of-vocabulary, by the given columns alone.
            k: number of videos.
            time: microseconds since 1970 UTC; now by default.
            given: raw columns of the user or the moment in the run's feature table, such as age=30, which override the
                stored ones; None, NaN, "", [] and the least int64 make one missing.

        Raises:
            InputError: if k is below 1, or as `Request`.
        """
        return self.recommend_each([Wanted(self.request(user_id, time, **given), k)])[0]

    @sentences()
    def recommend_each(self, wanted: Sequence[Wanted]) -> list[Recommendations]:
        """Recommend for each of [n] requests, equal to `recommend` to the last bit; one call of the trees serves all.

        The `seconds` of a stage are those of all requests together.
        """
        clock, filters = Clock(), self.settings.filters
        users = [item.request.user for item in wanted]
        if self._live is not None and len(wanted) > 1:
            self._live.expect(users)
        seen = [self.seen(item.request) for item in wanted]
        known = [self.known(item.request) for item in wanted]
        retrieved = list(map(self._retrieve, known, seen))
        clock.lap("retrieval")
        candidates = [self._as_of(rows, item.request.time) for (rows, _), item in zip(retrieved, wanted, strict=True)]
        removed = [
            filtering.removed(videos, opened, filtering.country_of(columns), item.request.time, filters)
            for videos, opened, columns, item in zip(candidates, seen, known, wanted, strict=True)
        ]
        kept = [np.flatnonzero(~np.any(list(masks.values()), axis=0))[: self.settings.ranked] for masks in removed]
        videos = [every.take(chosen) for every, chosen in zip(candidates, kept, strict=True)]
        clock.lap("filtering")
        scores = self.rank_each(known, videos)
        clock.lap("ranking")
        items = [
            arrange(
                videos[i], retrieved[i][1][kept[i]], scores[i], item.request.code, item.request.time,
                self.settings.order, item.k,
            )
            for i, item in enumerate(wanted)
        ]  # fmt: skip
        clock.lap("ordering")
        counts = [{name: int(mask.sum()) for name, mask in masks.items()} for masks in removed]
        for count, opened in zip(counts, seen, strict=True):
            count["seen"] += len(opened) if filters.seen else 0
        are_known = list(map(self.store.knows, users))
        if self._log is not None:
            self._log.note([item.request for item in wanted], known, are_known)
        return [
            Recommendations(
                tuple(items[i]), are_known[i], len(retrieved[i][0]), counts[i], len(kept[i]), dict(clock.seconds)
            )
            for i in range(len(wanted))
        ]

    @sentences()
    def observe(self, events: "Given") -> "Observed":
        """Take events, which the next recommendations use; several threads may do so at once.

        The first call loads the state of the run, or of its last refresh, in some seconds. Events are kept in memory
        until the process ends, or in Redis, where they are once this returns.

        Args:
            events: the columns of interactions as the tables have them: a list of mappings or a pyarrow.Table. A time
                is a datetime, microseconds since 1970 UTC, or text; optional columns may be omitted. `event_id`
                distinguishes events of a user with the same video, time and signals, which otherwise are one.

        Returns:
            The numbers of applied and repeated events, and the reasons of rejected ones.

        Raises:
            InputError: if there is no state, of this run, or `events` is neither a list nor a table; or if Redis does
                not answer, after which the same events can be sent again.

        Examples:
            >>> recommender = Recommender("out")
            >>> like = {"user_id": 7, "video_id": 3, "interaction_time": now(), "interaction_type": "like"}
            >>> recommender.observe([like])
            Observed(applied=1, repeated=0, rejected=())
        """
        return self.live.observe(events)

    @property
    def live(self) -> "LiveStore":
        """The online state, which takes events; loaded at first use.

        Raises:
            InputError: if there is no state, or of another run than the export.
        """
        with self._opening:
            return self._live or self._open()

    def _open(self) -> "LiveStore":
        from recsys_tft.recommending import live_store

        graph = serving_folders.description(self._store_folder)["transform_graph"]
        live = live_store.open_store(self._output_dir, graph, self.store, self._redis, self._is_patient)
        for user in self.store.some_users(1):  # the first call compiles kernels
            live.user(self.store.user(user), user, now())
        live.videos(Candidates(self._catalogue, np.arange(1)), now())
        self._live = live
        return live

    def request(self, user_id: int | str | None, time: int | None = None, **given: Any) -> Request:
        """A checked request; arguments as in `recommend`."""
        return Request(user_id, given, now() if time is None else time, self.columns, self.kinds["user_id"])

    def known(self, request: Request) -> dict[str, pa.Array]:
        """[1] known raw columns of the user and the moment.

        If a history is given without its categories, these come from the store.
        """
        stored = self.store.user(request.user)
        columns = request.columns(stored if self._live is None else self._live.user(stored, request.user, request.time))
        videos, categories = HISTORY
        if videos in request.given and categories not in request.given:
            columns[categories] = self.store.categories(columns[videos])
        return columns

    def seen(self, request: Request) -> pa.Array:
        """[n] videos that the user opened or gave a negative signal."""
        return self.store.seen(request.user) if self._live is None else self._live.seen(request.user)

    def candidates(self, video_ids: pa.Array | Sequence[int | str], time: int) -> Candidates:
        """[n] videos at a moment."""
        return self._as_of(self.store.rows_of(video_ids), time)

    def _as_of(self, rows: np.ndarray, time: int) -> Candidates:
        stored = Candidates(self._catalogue, rows)
        return stored if self._live is None else self._live.videos(stored, time)

    def retrieve(self, known: Mapping[str, pa.Array], seen: pa.Array) -> tuple[pa.Array, np.ndarray]:
        """Stage 1: [n] ids and scores, the best first, without videos that the user has seen.

        Args:
            known: [1] raw columns of the user.
            seen: ids of videos that the user opened.
        """
        rows, scores = self._retrieve(known, seen)
        return self._catalogue.ids.take(pa.array(rows)), scores

    def _retrieve(self, known: Mapping[str, pa.Array], seen: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """As `retrieve`, by row numbers; one user at a time, so that no bit depends on other requests."""
        excluded = pa.array(seen if self.settings.filters.seen else seen[:0])
        if self._exact is None and self._index is None:  # an export of an earlier release
            inputs = {**known, "exclude": pa.ListArray.from_arrays(pa.array([0, len(excluded)], pa.int32()), excluded)}
            answer = self._ask("retrieval", inputs, k=self.settings.candidates)
            (found_ids,), (scores,) = answer["video_ids"], answer["scores"]
            is_real = ~np.isneginf(scores)
            return self.store.rows_of(pa.array(found_ids[is_real], excluded.type)), scores[is_real]
        vector = self._ask("query_tower", known)["vector"]
        if self._exact is not None:
            rows = self.store.known_rows(excluded)
            return self._exact.best(vector[0], self.settings.candidates, rows)
        assert self._index is not None
        (answer,), (scores,) = self._index.best(vector, self.settings.candidates, self.store.numbers(excluded))
        is_real = ~np.isneginf(scores)
        return self.store.rows_of(self.store.numbered(answer[is_real])), scores[is_real]

    def rank(self, known: Mapping[str, pa.Array], videos: Candidates) -> np.ndarray:
        """Stage 3: [n] float32 scores of videos.

        Args:
            known: [1] raw columns of the user and the moment.
            videos: [n] of them.
        """
        return self.rank_each([known], [videos])[0]

    def rank_each(self, known: Sequence[Mapping[str, pa.Array]], videos: Sequence[Candidates]) -> list[np.ndarray]:
        """Rank the videos of each of several users."""
        sizes = [len(rows) for rows in videos]
        if not sum(sizes):
            return [np.zeros(0, np.float32) for _ in videos]
        if CONTRIBUTIONS in self._models["ranker"].signatures and len(sizes) > 1:  # a network: see `retrieve`
            return list(map(self.rank, known, videos))
        scores = self._ask_ranker(known, videos)["score"]
        scores = np.broadcast_to(scores, sum(sizes))  # one for all where the ranker reads nothing of videos
        return np.split(scores, np.cumsum(sizes)[:-1])

    @sentences()
    def explain(
        self, user_id: int | str | None, video_ids: Sequence[int | str], time: int | None = None, **given: Any
    ) -> list[list[tuple[str, float]]]:
        """For each video (raw columns, contribution to the ranker's score), the largest first.

        Contributions are to the score before it becomes a probability: SHAP values for trees, which need the library
        that trained them; integrated gradients for dcn, which are in its graph.

        Args:
            user_id: as in `recommend`.
            video_ids: known videos.
            time: as in `recommend`.
            given: as in `recommend`.
        """
        request = self.request(user_id, time, **given)
        known = self.known(request)
        kind = self.kinds["video_id"]
        if kind.is_text:
            try:
                video_ids = [ids.text_of(video, kind) for video in video_ids]
            except ValueError as error:
                raise InputError(f"One of the video_ids {error}.") from None
        inputs = [known], [self.candidates(video_ids, request.time)]
        if CONTRIBUTIONS in self._models["ranker"].signatures:
            described = explanations.columns(self._ranker_folder / serving_folders.EXTRA)
            (values,) = self._ask_ranker(*inputs, CONTRIBUTIONS).values()
            values = np.broadcast_to(values, (len(video_ids), values.shape[1]))
        else:
            features = self._ask_ranker(*inputs, "features")
            rows = {n: np.broadcast_to(v, (len(video_ids), *v.shape[1:])) for n, v in features.items()}
            described, values = self._explainer.described, self._explainer.contributions(rows)
        return explanations.by_raw_columns(values, described)

    def load_explainer(self) -> None:
        """Load the explainer, which `explain` otherwise does at its first call, in about a second.

        Raises:
            InputError: if the library that trained the ranker is needed, and not installed.
        """
        if CONTRIBUTIONS not in self._models["ranker"].signatures:
            _ = self._explainer

    @functools.cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self._ranker_folder / serving_folders.EXTRA)

    def _ask(self, name: str, columns: Mapping[str, Arrow], **others: Any) -> dict[str, np.ndarray]:
        """Run a model on raw columns and other inputs."""
        model = self._models[name]
        slots = {key: slot for key, slot in model.signatures["serving_default"].inputs.items() if key not in others}
        return model.run("serving_default", {**arrays(columns, slots), **others})

    def _ask_ranker(
        self, known: Sequence[Mapping[str, pa.Array]], videos: Sequence[Candidates], signature: str = "serving_default"
    ) -> dict[str, np.ndarray]:
        """Run the ranker on the videos of each of [n] users."""
        model = self._models["ranker"]
        return model.run(signature, ranker_inputs.build_inputs(known, videos, model.signatures[signature].inputs))
