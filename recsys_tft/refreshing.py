"""Refreshes an output: rows of a new period, from its events and the state before them."""

import contextlib
import dataclasses
import functools
import pathlib
import posixpath
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from recsys_tft.configuration.settings import from_manifest
from recsys_tft.errors import InputError
from recsys_tft.faults import sentences
from recsys_tft.processing import PipelineConfig, ProcessingPipeline, RunResult
from recsys_tft.run_layout import periods
from recsys_tft.run_layout.output import Output
from recsys_tft.run_layout.periods import Start
from recsys_tft.run_layout.state_files import ENTITIES, EarlierState
from recsys_tft.storage import places
from recsys_tft.storage.files import is_local
from recsys_tft.storage.locks import sole_writer

if TYPE_CHECKING:
    from recsys_tft.beam_pipelines.run import Submitted
    from recsys_tft.configuration.settings import Settings
    from recsys_tft.tables.raw_tables import RawTable


@dataclasses.dataclass(frozen=True)
class PeriodConfig(PipelineConfig):
    """Options of a refresh besides its data.

    Attributes:
        start: the run, and the state from which the period starts.
    """

    start: Start = dataclasses.field(kw_only=True)

    @functools.cached_property
    def settings(self) -> "Settings":
        """The settings of the run, after a check that its feature table is unchanged."""
        return from_manifest(self.start.manifest, f"{self.output_dir}/artifacts/manifest.json")

    @property
    def output(self) -> Output:
        """The folder of the period."""
        return Output.at(self.start.folder)

    @property
    def earlier(self) -> EarlierState:
        """The state that it starts from."""
        return self.start.state

    def tables(self, data_dir: str, chosen: "Settings") -> "dict[str, RawTable]":
        """The tables of the period; users, videos and channels are optional.

        Raises:
            InputError: if only one of a table and that of the run has versions; or as for a run.
        """
        from recsys_tft.tables import raw_tables

        tables = raw_tables.find(data_dir, chosen.columns, chosen.table, optional=ENTITIES)
        for name in ENTITIES:
            versioned = f"versions/{name}/keys" in self.start.manifest["counts"]
            if tables[name].fingerprint and tables[name].is_versioned != versioned:
                here, there = ("has a", "had none") if tables[name].is_versioned else ("has no", "had one")
                path = tables[name].fingerprint[0][0]
                raise InputError(f"{data_dir}/{path}: {here} column updated_at, and the {name} of the run {there}.")
            absent = tuple(self.start.manifest["absent_columns"][name])
            tables[name] = dataclasses.replace(tables[name], absent=absent, is_versioned=versioned)
        return tables


@sentences()
def refresh(
    output_dir: str,
    data_dir: str,
    name: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
    beam_args: Sequence[str] = (),
) -> RunResult:
    """Make the rows of a new period of an output, `OUTPUT_DIR/periods/NAME`, with the fitted values of the run.

    No earlier interaction is read: the state of the run, or of the previous refresh, has everything that rows need from
    them. The period is an output of its own, written atomically, with the state for the next one.

    Args:
        output_dir: of the run; local, or on any Beam filesystem.
        data_dir: the new interactions, and new, changed or all users, videos and channels.
        name: of the period; by default the name of the folder `data_dir`. Periods are in the order of their names.
        workers: as for a run.
        overwrite: whether to make the last period again, from the state before it.
        say: is told each step.
        beam_args: options for Beam, such as `--runner=DataflowRunner`.

    Raises:
        InputError: if there is no run or no complete state, the period is not the next one, or something in the data is
            wrong; then nothing is changed.

    Examples:
        >>> result = refresh("out", "data/2025-03-04")
        >>> len(result["videos"].pandas()) == result.manifest["counts"]["written/videos"]
        True
    """
    with _begun(output_dir, data_dir, name, workers=workers, overwrite=overwrite, beam_args=beam_args) as config:
        return ProcessingPipeline(config, say).run(data_dir)


@sentences()
def submit(
    output_dir: str,
    data_dir: str,
    name: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
    beam_args: Sequence[str] = (),
) -> "Submitted":
    """Submit a `refresh` to Dataflow, without waiting for it.

    Raises:
        InputError: as `refresh`, or if `--runner` in the options is not DataflowRunner.
    """
    with _begun(output_dir, data_dir, name, overwrite=overwrite, beam_args=beam_args) as config:
        return ProcessingPipeline(config, say).submit(data_dir)


@contextlib.contextmanager
def _begun(output_dir: str, data_dir: str, name: str | None, **options: Any) -> Iterator[PeriodConfig]:
    """The options of a refresh; its state is held, and other local refreshes locked out, while the block runs."""
    check(output_dir, data_dir)
    if not is_local(output_dir):
        ProcessingPipeline.load()
        places.reach([output_dir, data_dir])
    called, root = periods.name_of(data_dir) if name is None else name, posixpath.join(output_dir, periods.FOLDER)
    alone = sole_writer(pathlib.Path(root), "refresh") if is_local(root) else contextlib.nullcontext()
    with alone, periods.open_start(output_dir, called, options["overwrite"]) as start:
        yield PeriodConfig(output_dir=output_dir, start=start, **options)


def check(output_dir: str, data_dir: str) -> None:
    """Check everything that can be checked at once, before anything large is loaded.

    Raises:
        InputError: if a folder has no name or does not exist.
    """
    for option, place in {"--output-dir": output_dir, "--data-dir": data_dir}.items():
        places.check(option, place)
    places.check_data(data_dir)
