"""Fitted values in readable files: vocabularies, normalizers, buckets. All are read from the saved graph."""

from collections.abc import Container, Mapping

from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.output_checks import naming
from recsys_tft.run_layout.schemas import feature_size
from recsys_tft.transform_graph import TransformGraph
from recsys_tft.vocabularies import values_of


def vocabulary_lines(values: list[bytes], n_oov: int) -> str:
    """One line per token: line number, from 0, equals token; newlines and backslashes are escaped."""
    reserved = ["[MISSING]", *(f"[OOV {bucket}]" for bucket in range(n_oov))]
    texts = (value.decode(errors="backslashreplace") for value in values)
    escaped = (text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r") for text in texts)
    return "".join(f"{line}\n" for line in [*reserved, *escaped])


RESERVED = ("vocabularies", "transform_graph", "embeddings")  # folders with other contents
Vocabularies = Mapping[str, list[bytes]]  # the values of each, in order


def vocabularies(saved_model: str, settings: Settings) -> Vocabularies:
    """The vocabularies of active features in the folder of a saved `transform_fn`."""
    active = {f.vocabulary.name for f in settings.table.active(settings) if f.vocabulary}
    names = (vocabulary.name for vocabulary in settings.table.vocabularies)
    return {name: values_of(name, saved_model) for name in names if name in active}


def describe(graph: TransformGraph, values: Vocabularies, settings: Settings) -> dict[str, str]:
    """File names below `artifacts/`, and their text.

    Raises:
        InputError: if the description of an op has the file name of another.
    """
    files = {
        f"vocabularies/{name}.txt": vocabulary_lines(words, settings.vocabulary(name).n_oov)
        for name, words in values.items()
    }
    fitted = graph.fitted
    for feature in settings.table.active(settings):
        with naming(feature.name, feature.op, "describe"):
            texts = feature.op.describe(feature.name, feature.sources, fitted.get(feature.name), settings)
        for path, text in texts.items():
            check_path(feature.name, path, files)
            files[path] = text
    return files


def check_path(feature: str, path: str, taken: Container[str] = ()) -> None:
    """Refuse a file of `Op.describe` that is not a new FOLDER/FILE below `artifacts/`.

    Raises:
        InputError: naming the feature and the file.
    """
    folder, *below = path.split("/")
    parts = (folder, *below)
    if len(parts) != 2 or path in taken or folder in RESERVED or any(part in ("", ".", "..") for part in parts):
        raise InputError(
            f"The feature '{feature}' describes itself in artifacts/{path}; expected FOLDER/{feature}.json, where no "
            f"other feature has that file and the folder is none of {', '.join(RESERVED)}."
        )


def categories(values: Vocabularies, settings: Settings) -> dict[str, int]:
    """The number of values of each categorical feature, including 0 for missing."""
    sizes = {name: len(words) for name, words in values.items()}
    features = (f for f in settings.table.switched_on(settings) if not f.vocabulary or f.vocabulary.name in sizes)
    sizes_of_features = {feature.name: feature_size(feature, settings, sizes) for feature in features}
    return {name: size for name, size in sizes_of_features.items() if size is not None}
