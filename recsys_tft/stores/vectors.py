"""`recsys-tft vectors`: the vectors of an export's videos in the bulk format of a vector store.

TO/vectors.json    version of the export, metric, ids, columns, and the definition of the collection
TO/data/           the files to load
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from recsys_tft import ids
from recsys_tft.columns import KEYS, IdKind
from recsys_tft.errors import UsageError, did_you_mean
from recsys_tft.faults import sentences
from recsys_tft.storage.json_files import to_json
from recsys_tft.stores import vector_formats
from recsys_tft.stores.exported import Exported
from recsys_tft.stores.new_folder import check, new_folder
from recsys_tft.stores.vector_formats import VECTOR, Part

FILE, DATA = "vectors.json", "data"
ROWS = 50_000  # of a file
_FILTERED = ("string", "list<item: string>", "bool", "timestamp[us, tz=UTC]")  # types of filters


@dataclasses.dataclass(frozen=True)
class Written:
    """Written vectors.

    Attributes:
        folder: their path.
        count: of videos.
        description: contents of `vectors.json`.
    """

    folder: pathlib.Path
    count: int
    description: dict[str, Any]


@sentences()
def write(
    output_dir: str,
    store: str,
    to: str,
    metadata: Sequence[str] | None = None,
    version: int | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Written:
    """Write the vectors of an export's retrieval model, with metadata for a store's filters.

    Args:
        output_dir: of the run.
        store: one of `vector_formats.FORMATS`.
        to: the folder to make.
        metadata: columns of videos, by the user's names; by default texts, lists of texts, booleans, times and ids.
        version: of the export; the newest by default.
        overwrite: whether to replace a folder made by such a call.
        say: is told each step.

    Raises:
        InputError: if there is no such export, a column is unknown, the folder exists, or the store cannot hold an id
            or a value.
    """
    folder = pathlib.Path(to)
    check(folder, FILE, overwrite)
    say("Reading the export")
    exported = Exported(output_dir, version)
    names = _metadata(exported, metadata)
    chosen = vector_formats.FORMATS[store]
    with new_folder(folder, FILE, overwrite) as made:
        (made / DATA).mkdir()
        for number, part in enumerate(_parts(exported, names)):
            say(f"Writing the vectors of {min((number + 1) * ROWS, len(exported.video_ids)):,} videos")
            chosen.write(part, made / DATA, number)
        description = _description(exported, store, part)
        (made / FILE).write_text(to_json(description))
    return Written(folder, len(exported.video_ids), description)


def _metadata(exported: Exported, chosen: Sequence[str] | None) -> dict[str, str]:
    """Our names of the columns to write, by the user's names.

    Raises:
        UsageError: naming an unknown one.
    """
    there = [f.name for f in exported.store.all_videos.schema if f.name != KEYS["videos"] and _is_filter(f.type)]
    columns = {exported.own_name(name): name for name in there}
    if chosen is None:
        stored = exported.description["stored"]
        usual = [
            name for name in there if stored.get(name, {}).get("type") in _FILTERED or "key" in stored.get(name, {})
        ]
        chosen = [exported.own_name(name) for name in usual]
    for name in chosen:
        if name not in columns:
            hint = did_you_mean(name, columns)
            raise UsageError(f"--metadata names '{name}', which is not a column of videos that can be a filter.{hint}")
        if name in (VECTOR, exported.own_name(KEYS["videos"])):
            raise UsageError(f"--metadata names '{name}', which is another column here; leave it out.")
    return {name: columns[name] for name in dict.fromkeys(chosen)}


def _is_filter(kind: pa.DataType) -> bool:
    """Whether stores can filter by a column: by all but lists of numbers."""
    return not pa.types.is_list(kind) or pa.types.is_binary(kind.value_type)


def _parts(exported: Exported, names: dict[str, str]) -> Iterator[Part]:
    kind = exported.kinds["video_id"]
    stored = exported.description["stored"]
    keys = frozenset(name for name, ours in names.items() if "key" in stored.get(ours, {}))
    texts = frozenset(name for name, ours in names.items() if stored.get(ours, {}).get("text"))
    for start in range(0, len(exported.video_ids), ROWS):
        video_ids = exported.video_ids.slice(start, ROWS)
        rows = exported.typed(exported.store.videos(video_ids).select(list(names.values())))
        yield Part(
            exported.own_name(KEYS["videos"]),
            exported.as_text(KEYS["videos"], video_ids),
            numbers(video_ids, kind),
            exported.vectors[start : start + ROWS],
            {name: rows[ours].combine_chunks() for name, ours in names.items()},
            keys,
            texts,
        )


def numbers(video_ids: pa.Array, kind: IdKind) -> pa.Array:
    """[n] uint64 for [n] ids, equal to integers from 0; UUIDs as strings."""
    return (
        video_ids.cast(pa.string()) if kind is IdKind.UUID else pa.array(ids.codes_of(video_ids).to_numpy().view("u8"))
    )


def _description(exported: Exported, store: str, part: Part) -> dict[str, Any]:
    described = exported.description
    name = f"videos-{exported.version}"
    return {
        "format": store,
        "version": exported.version,
        "as_of": exported.as_of.isoformat(),
        **({"period": described["period"]} if "period" in described else {}),
        "transform_graph": described["transform_graph"],
        "metric": described["metric"],
        "count": len(exported.video_ids),
        "dimension": exported.vectors.shape[1],
        "id": part.name,
        "id_kind": str(exported.kinds["video_id"]),
        "metadata": {name: str(values.type) for name, values in part.metadata.items()},
        "collection": vector_formats.FORMATS[store].collection(name, part, described["metric"]),
    }
