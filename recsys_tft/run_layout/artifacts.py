"""What the run fitted, in files for people: vocabularies, normalizers, buckets. All are read off the saved graph."""

import itertools
from collections.abc import Mapping

from recsys_tft.configuration.settings import Settings
from recsys_tft.number_ops import Bucket, Level, ZScore
from recsys_tft.run_layout.schemas import feature_size
from recsys_tft.storage.json_files import to_json
from recsys_tft.transform_graph import TransformGraph
from recsys_tft.vocabularies import values_of


def vocabulary_lines(values: list[bytes], n_oov: int) -> str:
    """One line per token, so that the number of a line, from 0, is the token; newlines and backslashes escaped."""
    reserved = ["[MISSING]", *(f"[OOV {bucket}]" for bucket in range(n_oov))]
    texts = (value.decode(errors="backslashreplace") for value in values)
    escaped = (text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r") for text in texts)
    return "".join(f"{line}\n" for line in [*reserved, *escaped])


Vocabularies = Mapping[str, list[bytes]]  # the values of each, in order


def vocabularies(saved_model: str, settings: Settings) -> Vocabularies:
    """The vocabularies of the graph in the folder of a saved `transform_fn`."""
    return {vocabulary.name: values_of(vocabulary.name, saved_model) for vocabulary in settings.table.vocabularies}


def describe(graph: TransformGraph, values: Vocabularies, settings: Settings) -> dict[str, str]:
    """File names below `artifacts/`, and their text."""
    files = {
        f"vocabularies/{name}.txt": vocabulary_lines(words, settings.vocabulary(name).n_oov)
        for name, words in values.items()
    }
    fitted = graph.fitted()
    for feature in settings.table.switched_on(settings):
        if isinstance(feature.op, ZScore):
            mean, deviation = map(float, fitted[feature.name])
            found = {"column": feature.sources[0], "log1p": feature.op.log1p, "mean": mean, "std": deviation}
            files[f"normalizers/{feature.name}.json"] = to_json(found)
        elif isinstance(feature.op, Bucket):
            boundaries = list(settings.buckets[feature.op.boundaries])
            found = {"column": feature.sources[0], "boundaries": boundaries, "buckets": bucket_names(boundaries)}
            files[f"buckets/{feature.name}.json"] = to_json(found)
        elif isinstance(feature.op, Level):
            boundaries = [float(edge) if abs(edge) != float("inf") else None for edge in fitted[feature.name]]
            found = {"columns": feature.sources, "levels": settings.popularity.levels, "boundaries": boundaries}
            files[f"buckets/{feature.name}.json"] = to_json(found)
    return files


def bucket_names(boundaries: list[float]) -> list[str]:
    """What each bucket holds, from bucket 0 on."""
    between = [f"{low:g} <= x < {high:g}" for low, high in itertools.pairwise(boundaries)]
    return ["missing", f"x < {boundaries[0]:g}", *between, f"{boundaries[-1]:g} <= x"]


def categories(values: Vocabularies, settings: Settings) -> dict[str, int]:
    """For each categorical feature how many values it may have, 0 for missing included."""
    sizes = {name: len(words) for name, words in values.items()}
    found = {feature.name: feature_size(feature, settings, sizes) for feature in settings.table.switched_on(settings)}
    return {name: size for name, size in found.items() if size is not None}
