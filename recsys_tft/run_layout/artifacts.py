"""What the run fitted, in files for people: vocabularies, normalizers, buckets. All are read off the saved graph."""

from collections.abc import Container, Mapping

from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.output_checks import naming
from recsys_tft.run_layout.schemas import feature_size
from recsys_tft.transform_graph import TransformGraph
from recsys_tft.vocabularies import values_of


def vocabulary_lines(values: list[bytes], n_oov: int) -> str:
    """One line per token, so that the number of a line, from 0, is the token; newlines and backslashes escaped."""
    reserved = ["[MISSING]", *(f"[OOV {bucket}]" for bucket in range(n_oov))]
    texts = (value.decode(errors="backslashreplace") for value in values)
    escaped = (text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r") for text in texts)
    return "".join(f"{line}\n" for line in [*reserved, *escaped])


RESERVED = ("vocabularies", "transform_graph", "embeddings")  # folders that hold something else
Vocabularies = Mapping[str, list[bytes]]  # the values of each, in order


def vocabularies(saved_model: str, settings: Settings) -> Vocabularies:
    """The vocabularies of the graph in the folder of a saved `transform_fn`, which has those of active features."""
    active = {f.vocabulary.name for f in settings.table.active(settings) if f.vocabulary}
    names = (vocabulary.name for vocabulary in settings.table.vocabularies)
    return {name: values_of(name, saved_model) for name in names if name in active}


def describe(graph: TransformGraph, values: Vocabularies, settings: Settings) -> dict[str, str]:
    """File names below `artifacts/`, and their text.

    Raises:
        InputError: if an op describes itself in a file that is not its own.
    """
    files = {
        f"vocabularies/{name}.txt": vocabulary_lines(words, settings.vocabulary(name).n_oov)
        for name, words in values.items()
    }
    fitted = graph.fitted
    for feature in settings.table.active(settings):
        with naming(feature.name, feature.op, "describe"):
            own = feature.op.describe(feature.name, feature.sources, fitted.get(feature.name), settings)
        for path, text in own.items():
            check_path(feature.name, path, files)
            files[path] = text
    return files


def check_path(feature: str, path: str, taken: Container[str] = ()) -> None:
    """Refuses a file of `Op.describe` that is no FOLDER/FILE of its own below `artifacts/`.

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
    """For each categorical feature how many values it may have, 0 for missing included."""
    sizes = {name: len(words) for name, words in values.items()}
    features = (f for f in settings.table.switched_on(settings) if not f.vocabulary or f.vocabulary.name in sizes)
    found = {feature.name: feature_size(feature, settings, sizes) for feature in features}
    return {name: size for name, size in found.items() if size is not None}
