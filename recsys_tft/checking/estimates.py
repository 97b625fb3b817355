"""Estimates of a run's time and memory, from the measurements in docs/performance.md."""

import dataclasses
import math
from collections.abc import Mapping

import pyarrow as pa

from recsys_tft.checking.sampling import Labelled
from recsys_tft.configuration.settings import Settings
from recsys_tft.features import Feature
from recsys_tft.labelling.split_times import SPLITS
from recsys_tft.run_layout.data_sets import DATA_SETS, RANKER_ROWS, TWO_TOWER, DataSet
from recsys_tft.tables.raw_tables import RawTable

_KINDS = ("positive", "disliked", "exposed")  # of exposures that have rows
_START = 5.0  # seconds: imports, fitting and saving the graph
_ROW, _ROW_WITH_PAST = 1.6e-6, 3.1e-6  # CPU seconds of a row, without and with outcomes of earlier exposures
_TITLES = 380  # encoded by minilm per CPU second
_MORE_THREADS = 0.55  # what each thread beyond the first adds
_MILLION, _LARGE = 1_000_000, 250_000  # interactions; of a partition that is larger than usual
_TFRECORD, _FEATURE = 18, 11  # bytes of a record, and of a feature in it, besides its name and values
_GZIP, _PARQUET = 10, 1.6  # how much smaller a record becomes; bytes of a value in a column


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Estimated cost of a run.

    Attributes:
        rows: to be written, by data set.
        bytes: of their files, by data set.
        threads: on which it runs.
        seconds: from its start to its end.
        memory: bytes.
    """

    rows: dict[str, int]
    bytes: dict[str, int]
    threads: int
    seconds: float
    memory: int


def estimate(
    labelled: Labelled, scale: float, tables: Mapping[str, RawTable], titles: int, settings: Settings, cores: int
) -> Estimate:
    """Estimate a run on these tables.

    Args:
        labelled: a sample of their exposures.
        scale: exposures per sampled exposure.
        tables: as `raw_tables.find` returns them.
        titles: how many distinct ones an encoder has to encode.
        settings: of the run.
        cores: of the machine.
    """
    kinds = {kind: sum(labelled.counts.get(f"exposures/{split}/{kind}", 0) for split in SPLITS) for kind in _KINDS}
    scaled = {
        TWO_TOWER.name: scale * kinds["positive"],
        RANKER_ROWS.name: scale * (sum(kinds.values()) + labelled.drawn),
    }
    scaled |= {name: tables[name].rows for name in ("users", "videos")}
    rows = {name: round(number) for name, number in scaled.items()}
    sizes = {data_set.name: round(rows[data_set.name] * _row_bytes(data_set, settings)) for data_set in DATA_SETS}
    partitions = max(-(-tables["users"].rows // settings.output.users_per_shard), 1)
    threads = min(cores, partitions)
    work = sum(rows.values()) * (_ROW_WITH_PAST if settings.positive_rates.enabled else _ROW) + titles / _TITLES
    seconds = _START + work / (1 + _MORE_THREADS * (threads - 1))
    return Estimate(rows, sizes, threads, seconds, _memory(tables["interactions"].rows, partitions, threads))


def _memory(interactions: int, partitions: int, threads: int) -> int:
    """Bytes: 1.1 GB at 10,000 interactions, 1.3 at 100,000, 2.0 at a million, 2.2 at 5 and 2.6 at 20 million; more for
    partitions of few, very active users."""
    millions = interactions / _MILLION
    usual = 1.0 + 0.95 * min(millions, 1) ** 0.55 + 0.4 * math.log10(max(millions, 1))
    large = 1.5 * threads * max(interactions / partitions - _LARGE, 0) / _MILLION
    return round((usual + large) * 1e9)


def _row_bytes(data_set: DataSet, settings: Settings) -> float:
    features = data_set.features(settings)
    keys = {name for names in data_set.keys.values() for name in names}
    values = {feature.name: _value_bytes(feature, settings) for feature in features} | dict.fromkeys(keys, 5.0)
    if settings.output.format == "parquet":
        wide = sum(size for size in values.values() if size > 100)
        return _PARQUET * len(values) + wide
    record = _TFRECORD + sum(_FEATURE + len(name) + size for name, size in values.items())
    return record / (_GZIP if settings.output.compression else 1)


def _value_bytes(feature: Feature, settings: Settings) -> float:
    """The bytes of one value in a record: float32 as they are, int64 in one or two bytes."""
    shape = feature.op.shape(settings)
    number = settings.history.length / 2 if shape is None else math.prod(shape)
    return number * (1.5 if feature.is_categorical else pa.float32().byte_width)
