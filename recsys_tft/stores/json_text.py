"""Rows as JSON, a column at a time."""

import json
from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa


def members(name: str, values: pa.Array) -> pl.Series:
    """[n] texts `"name":value`, null for a null; floats are the shortest text that parses to the same float32."""
    column = pl.DataFrame({"v": pl.from_arrow(values)})
    value = pl.struct("v").struct.json_encode().str.slice(len('{"v":')).str.head(-1)
    return column.select(pl.when(pl.col("v").is_not_null()).then(pl.lit(f"{_text(name)}:") + value)).to_series()


def _text(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def objects(parts: Sequence[pl.Series]) -> pl.Series:
    """[n] JSON objects from columns of [n] members, without null members."""
    return _joined(parts, "{", "}")


def lists(parts: Sequence[pl.Series]) -> pl.Series:
    """[n] JSON lists from columns of [n] elements, without null elements."""
    return _joined(parts, "[", "]")


def _joined(parts: Sequence[pl.Series], opening: str, closing: str) -> pl.Series:
    named = pl.DataFrame([part.alias(str(number)) for number, part in enumerate(parts)])
    inner = pl.concat_str(pl.all(), separator=",", ignore_nulls=True)
    return named.select(pl.lit(opening) + inner + pl.lit(closing)).to_series()


def of_columns(columns: Mapping[str, pa.Array]) -> pl.Series:
    """[n] JSON objects of [n] rows, without nulls."""
    return objects([members(name, values) for name, values in columns.items()])
