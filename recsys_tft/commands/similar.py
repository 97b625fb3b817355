"""Videos with similar titles, or other texts, from the embeddings that a run wrote."""

import contextlib
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.text import Text

from recsys_tft import ids
from recsys_tft.configuration import settings
from recsys_tft.errors import InputError, did_you_mean, readable, require_local
from recsys_tft.faults import sentences
from recsys_tft.features import Entity, Feature
from recsys_tft.run_layout import run_folders
from recsys_tft.storage.version_folders import Held
from recsys_tft.terminal import Listing
from recsys_tft.titles import embeddings, title_encoder
from recsys_tft.titles.text_embedding import text_features, text_op


class TitleIndex:
    """The titles of a run's videos, or other texts, and their vectors.

    Args:
        output_dir: of the run.
        feature: the feature that embeds the text; by default the first one of videos.

    Raises:
        InputError: if there is no run on this machine, or one without such a text.
    """

    def __init__(self, output_dir: str, feature: str | None = None):
        require_local(output_dir)
        self._asked = feature
        root = pathlib.Path(output_dir) / "artifacts"
        with Held(root) if root.exists() else contextlib.nullcontext() as held:
            self._read(held.path if held else root, output_dir)

    def _read(self, artifacts: pathlib.Path, output_dir: str) -> None:
        folder = artifacts / "embeddings"
        if not folder.is_dir():
            raise InputError(f"{folder}: there are no title embeddings; run the job with a title_encoder first.")
        manifest = run_folders.manifest(output_dir)
        self._settings = settings.from_manifest(manifest, str(artifacts / "manifest.json"))
        again = run_folders.run_again(output_dir)
        self._feature = self._named(folder)
        (self._column,) = self._feature.sources
        vectors, texts = embeddings.vectors_file(self._feature.name), embeddings.texts_file(self._column)
        with readable(folder / vectors, again):
            self._vectors = np.load(folder / vectors, mmap_mode="r")
        with readable(folder / texts, again):
            self._videos = pq.read_table(folder / texts, columns=["video_id", self._column])
        if self._vectors.ndim != 2 or len(self._vectors) != len(self._videos):
            raise InputError(f"{folder}: its files do not belong together; {again}.")

    def _named(self, folder: pathlib.Path) -> Feature:
        """The requested feature, or the first one that embeds a text of videos."""
        features = {feature.name: feature for feature in text_features(self._settings, Entity.VIDEO)}
        if not features:
            raise InputError(f"{folder}: no feature of the run embeds a text of videos.")
        if self._asked is not None and self._asked not in features:
            hint = did_you_mean(self._asked, features)
            raise InputError(f"--feature {self._asked}: no feature of the run that embeds a text of videos.{hint}")
        return features[self._asked or next(iter(features))]

    @sentences()
    def nearest(self, title: str, k: int) -> list[tuple[int | str, str | None, float]]:
        """(video_id, title, cosine) of the k videos whose titles are most similar, the best first."""
        spec, precision = text_op(self._feature).spec(self._settings), self._settings.title_precision
        (vector,) = title_encoder.encode(spec, pa.array([title]), precision=precision)
        lengths = np.linalg.norm(self._vectors, axis=1) * np.linalg.norm(vector)
        cosines = np.divide(self._vectors @ vector, lengths, out=np.full(len(lengths), -1.0), where=lengths > 0)
        best = np.argsort(-cosines, kind="stable")[:k]
        rows = self._videos.take(best).to_pylist()
        return [(r["video_id"], _text(r[self._column]), float(c)) for r, c in zip(rows, cosines[best], strict=True)]

    def table(self, title: str, k: int) -> Listing:
        """The nearest videos for a terminal."""
        table = Listing(Text(f"Like {title!r}"))
        table.add_numbers("cosine", "video_id")
        table.add_texts(self._column)
        for video, name, cosine in self.nearest(title, k):
            table.add_row(f"{cosine:.3f}", Text(ids.printed(video)), Text(name or ""))
        return table


def _text(title: bytes | str | None) -> str | None:
    return title.decode(errors="replace") if isinstance(title, bytes) else title
