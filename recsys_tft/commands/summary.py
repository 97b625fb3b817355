"""Summary of a run, as tables on the terminal, from the manifest."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from recsys_tft.columns import TABLES
from recsys_tft.configuration import settings
from recsys_tft.examples.ranker_examples import SOURCES
from recsys_tft.features import FeatureTable
from recsys_tft.labelling.split_times import PERIODS, SPLITS
from recsys_tft.run_layout.data_sets import DATA_SETS, RANKER_ROWS
from recsys_tft.run_layout.output import Output
from recsys_tft.terminal import Listing

if TYPE_CHECKING:
    from recsys_tft.beam_pipelines.run import Submitted


def summary(manifest: Mapping[str, Any], output: Output, seconds: float) -> Group:
    """Rows by data set, positives by rule, rejected rows by reason, missing and unseen values, and paths."""
    counts = manifest["counts"]
    parts: list[RenderableType] = [_tables(counts), _data_sets(counts), Text(_ends(manifest)), _positives(counts)]
    parts += [_rejected(counts)] if any(name.startswith("rejected/") for name in counts) else []
    table = settings.parse(manifest["settings"], "the manifest").table
    parts += [
        _features(counts, table),
        *_notes(counts, table),
        *_places(output),
        f"Done in {seconds:.1f} s.",
    ]
    return Group(*parts)


def submission(submitted: "Submitted") -> Group:
    """Links to a job that runs elsewhere, and its future output."""
    output = f"Output:   {submitted.output.target('artifacts')}/manifest.json appears when the output is complete"
    if submitted.job_id is None:
        described = f", described in {submitted.where}" if submitted.where else ""
        return Group(f"Job:      {submitted.name}{described}, not submitted", *([output] if described else []))
    return Group(f"Job:      {submitted.name}, {submitted.job_id}", f"Console:  {submitted.where}", output)


def numbers_table(title: str, first: str, *numbers: str) -> Listing:
    """An empty table with a column of names and columns of numbers."""
    table = Listing(title)
    table.add_texts(first)
    table.add_numbers(*numbers)
    return table


def _tables(counts: Mapping[str, int]) -> Listing:
    table = numbers_table("Raw tables", "table", "rows", "used", "rejected")
    for name in TABLES:
        rows, used = counts.get(f"rows/{name}/in", 0), counts[f"rows/{name}/used"]
        table.add_row(name, f"{rows:,}", f"{used:,}", f"{rows - used:,}")
    return table


def _ends(manifest: Mapping[str, Any]) -> str:
    """The split times."""
    splits = manifest["splits"]
    if begins := splits.get(PERIODS):
        return f"train is the period from {begins[-1]}"
    if not splits:
        return f"split {manifest['settings']['split']['kind']}: each user's exposures are split"
    return f"val from {splits['val_from']}\ntest from {splits['test_from'] or 'never: it is empty'}"


def _data_sets(counts: Mapping[str, int]) -> Listing:
    table = numbers_table("\nRows written", "data set", *SPLITS, "all")
    for data_set in DATA_SETS:
        written = [counts.get(f"written/{folder}", 0) for folder in data_set.folders]
        shown = [f"{rows:,}" for rows in written] if data_set.splits else [""] * len(SPLITS)
        table.add_row(data_set.name, *shown, f"{sum(written):,}")
        if data_set is RANKER_ROWS:
            for source in SOURCES:
                rows = [counts.get(f"sources/{split}/{source}", 0) for split in SPLITS]
                if source == "disliked" and not any(rows):
                    continue
                table.add_row(f"  {source}", *(f"{n:,}" for n in (*rows, sum(rows))), style="dim")
    return table


def _positives(counts: Mapping[str, int]) -> Listing:
    table = numbers_table("\nPositives by rule", "rule", *SPLITS)
    for rule in sorted({name.split("/")[1] for name in counts if name.startswith("positives/")}):
        table.add_row(rule, *(f"{counts[f'positives/{rule}/{split}']:,}" for split in SPLITS))
    return table


def _rejected(counts: Mapping[str, int]) -> Listing:
    table = numbers_table("\nRejected rows", "table and reason", "rows")
    for name, rows in counts.items():
        if name.startswith("rejected/"):
            _, raw, reason = name.split("/", 2)
            table.add_row(f"{raw}: {reason}", f"{rows:,}")
    return table


def _features(counts: Mapping[str, int], features: FeatureTable) -> Listing:
    table = numbers_table("\nFeatures", "feature", "of", "missing", "unseen")
    for feature in features.features:
        if f"features/{feature.name}/rows" not in counts:
            continue
        rows = max(counts[f"features/{feature.name}/rows"], 1)
        missing = counts.get(f"features/{feature.name}/missing", 0) / rows
        unseen = counts.get(f"features/{feature.name}/oov")
        table.add_row(
            feature.name, f"{feature.entity.value}s", f"{missing:.1%}", "" if unseen is None else f"{unseen / rows:.1%}"
        )
    return table


def _notes(counts: Mapping[str, int], table: FeatureTable) -> list[str]:
    """Notes on surprising counts."""
    contradicted = sum(n for name, n in counts.items() if name.endswith("/contradicted"))
    numbers = {
        "late interactions are in the state, and make no rows": counts.get("late/interactions/used", 0),
        "negatives could not be sampled, because too few videos are legal for their users": counts.get(
            "negatives_short", 0
        ),
        "negative exposures were left out, because their user is positive on the video": contradicted,
    }
    notes = [f"\nNote: {number:,} {text}." for text, number in numbers.items() if number]
    if "counters/versions" in counts:
        events, versions = counts["counters/increments"], counts["counters/versions"]
        notes.append(f"\nPoint-in-time counters: {events:,} changes, {versions:,} versions of the videos.")
    notes += _versions(counts)
    if "texts/encoded" in counts:
        new, old = counts["texts/encoded"], counts["texts/cached"]
        missing = (f"{f.name} is missing in {_missing(counts, f.name)}" for f in table.features if f.op.embeds_text)
        notes.append(f"\nTexts: {new:,} encoded, {old:,} from the cache; {', '.join(missing)}.")
    return notes


def _missing(counts: Mapping[str, int], feature: str) -> str:
    missing, rows = (counts.get(f"features/{feature}/{what}", 0) for what in ("missing", "rows"))
    return f"{missing:,} of {rows:,} rows"


def _versions(counts: Mapping[str, int]) -> list[str]:
    """The number of versions in each table that has them, and of exposures before the first one."""
    notes = []
    for table in (name for name in TABLES if f"versions/{name}/early" in counts):
        keys, used = counts.get(f"versions/{table}/keys", 0), counts[f"rows/{table}/used"]
        early = counts[f"versions/{table}/early"]
        notes.append(
            f"\nVersions: {used:,} of {keys:,} {table}; {early:,} exposures precede their first version, and take it."
        )
    return notes


def _places(output: Output) -> list[Text]:
    """Paths of the output, in lines that are never broken."""
    lines = [
        f"\nRows:            {output.target('processed_data')}  (schema.pbtxt in each folder)",
        f"Transform graph: {output.target('artifacts')}/transform_graph",
        f"Fitted values:   {output.target('artifacts')}/vocabularies, normalizers, buckets",
        f"All counts:      {output.target('artifacts')}/manifest.json",
    ]
    return [Text(line, no_wrap=True, overflow="ignore") for line in lines]
