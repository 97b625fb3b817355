"""The main job, and access to its output."""

import contextlib
import dataclasses
import datetime
import functools
import importlib
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recsys_tft import libraries
from recsys_tft.columns import IdKind
from recsys_tft.configuration import settings
from recsys_tft.errors import StillRunning, UsageError
from recsys_tft.faults import sentences
from recsys_tft.run_layout.data_folders import DataFolder, OutputFolders
from recsys_tft.run_layout.output import Output
from recsys_tft.storage import ownership, places
from recsys_tft.storage.files import is_local
from recsys_tft.storage.locks import sole_writer
from recsys_tft.titles import embedding_cache, encoder_spec, minilm, title_encoder
from recsys_tft.titles.text_embedding import encoders

if TYPE_CHECKING:
    import tensorflow as tf
    from apache_beam.options.pipeline_options import PipelineOptions

    from recsys_tft.beam_pipelines.job import Job
    from recsys_tft.beam_pipelines.run import Submitted
    from recsys_tft.configuration.settings import Settings
    from recsys_tft.run_layout.state_files import EarlierState
    from recsys_tft.tables.raw_tables import RawTable


@dataclasses.dataclass(frozen=True)
class PipelineConfig:
    """Options of a run besides its data: its output folders, and overrides of settings.

    Attributes:
        output_dir: the folder of everything without a folder of its own below; local, or on any Beam filesystem.
        artifacts_dir: for the transform graph and the other artifacts; `output_dir/artifacts` by default.
        processed_data_dir: for the rows; `output_dir/processed_data` by default.
        config: a YAML file of settings that differ from the defaults.
        negative_ratio: sampled negatives per positive; from the settings by default.
        seed: of the synthetic data and the negatives; from the settings by default.
        format: tfrecord or parquet; from the settings by default.
        title_encoder: none, minilm, or a handle or path; from the settings by default.
        workers: threads that run the job in this process; by default one per core, but no more than partitions.
        overwrite: whether to replace an existing output.
        beam_args: options for Beam, such as `--runner=DataflowRunner`; they override `beam` of the settings.

    Examples:
        >>> config = PipelineConfig(output_dir="films", title_encoder="none", negative_ratio=4)
        >>> config.settings.ranker.negative_sample_ratio
        4
    """

    output_dir: str | None = None
    artifacts_dir: str | None = None
    processed_data_dir: str | None = None
    config: str | None = None
    negative_ratio: int | None = None
    seed: int | None = None
    format: str | None = None
    title_encoder: str | None = None
    workers: int | None = None
    overwrite: bool = False
    beam_args: Sequence[str] = ()

    @functools.cached_property
    def settings(self) -> settings.Settings:
        """The settings of the file, overridden by the options above.

        Raises:
            InputError: if one is wrong.
        """
        base = settings.load(self.config) if self.config is not None else settings.Settings()
        changes: dict[str, Any] = {} if self.seed is None else {"seed": self.seed}
        if self.negative_ratio is not None:
            changes["ranker"] = {"negative_sample_ratio": self.negative_ratio}
        if self.format is not None:
            changes["output"] = {"format": self.format}
        if self.title_encoder is not None:
            changes["title_encoder"] = self.title_encoder
        return base.replace(changes)

    def check(self, data_dir: str | None = None) -> None:
        """Check everything that can be checked at once, before anything large is loaded.

        Args:
            data_dir: of the raw tables; None if they are generated.

        Raises:
            InputError: if a setting is wrong, a folder has no name or an unknown filesystem, there are no tables, or
                there is an output that must not be replaced.
        """
        folders = {"--output-dir": self.output_dir, "artifacts_dir": self.artifacts_dir, "--config": self.config}
        for name, place in {**folders, "processed_data_dir": self.processed_data_dir}.items():
            places.check(name, place)
        places.check("encoder_cache", self.settings.encoder_cache)
        used = encoders(self.settings)
        for spec, name in used.items():
            encoder_spec.check(spec, name)
        if used:
            ownership.check("encoder_cache", self.settings.encoder_cache or minilm.cache_folder())
        if data_dir is not None:
            places.check_data(data_dir)
        self.output.check(self.overwrite, *(() if data_dir else ("raw",)))

    def needless(self, data_dir: str | None) -> tuple[str, ...]:
        """Optional imports of TensorFlow and Beam that a run on the tables in `data_dir` does not need."""
        places = (data_dir, self.output_dir, self.artifacts_dir, self.processed_data_dir)
        texts = [*filter(None, places), self.settings.model_dump_json()]
        is_here = not (self.settings.beam_arguments or self.beam_args) and not any("://" in text for text in texts)
        return (*libraries.UNUSED, *libraries.CLOUD) if is_here else libraries.UNUSED

    @property
    def earlier(self) -> "EarlierState | None":
        """The state that a refresh starts from."""
        return None

    def tables(self, data_dir: str, chosen: "Settings") -> "dict[str, RawTable]":
        """The four raw tables.

        Raises:
            InputError: as `raw_tables.find`.
        """
        from recsys_tft.tables import raw_tables

        return raw_tables.find(data_dir, chosen.columns, chosen.table)

    @property
    def compiled(self) -> tuple[str, ...]:
        """Modules with the compiled loops of a run."""
        kernels = {"recsys_tft.storage.record_kernels": self.settings.output.format == "tfrecord",
                   "recsys_tft.point_in_time.history_kernel": self.settings.history.length > 0,
                   "recsys_tft.point_in_time.tally_kernel": self.settings.positive_rates.enabled}  # fmt: skip
        return tuple(module for module, is_taken in kernels.items() if is_taken)

    @property
    def output(self) -> Output:
        """The folders of the output, by part."""
        beside = self.processed_data_dir or self.artifacts_dir
        base = self.output_dir or (posixpath.dirname(beside.rstrip("/")) or "." if beside else "output")
        return Output.at(base, artifacts=self.artifacts_dir, processed_data=self.processed_data_dir)


class ProcessingPipeline:
    """The main job, from raw or synthetic tables to the rows of both models and one transform graph.

    Args:
        pipeline_config: the options of a run besides its data.
        say: is told each step, in a short sentence; nothing by default.

    Raises:
        InputError: if a setting is wrong.

    Examples:
        >>> pipeline = ProcessingPipeline(PipelineConfig(output_dir="films", title_encoder="none"))
        >>> result = pipeline.run_synthetic(num_users=30, num_videos=40, num_interactions=600)
        >>> len(result["ranker_train"].pandas()) == result.manifest["counts"]["written/ranker/train"]
        True
        >>> sorted(pipeline.get_feature_specs())
        ['ranker', 'two_tower', 'users', 'videos']
    """

    def __init__(self, pipeline_config: PipelineConfig | None = None, say: Callable[[str], None] | None = None):
        self._config = pipeline_config or PipelineConfig()
        self._settings = self._config.settings
        self._output = self._config.output
        self._say = say or (lambda _: None)
        self._found: dict[str, dict[str, RawTable]] = {}

    def check(self, data_dir: str) -> None:
        """Check tables on this machine without loading TensorFlow or Beam; `run` finds the same problems.

        Raises:
            InputError: if something in the tables is wrong.
        """
        self._config.check(data_dir)
        if is_local(data_dir):
            self._found[data_dir] = self._config.tables(data_dir, self._settings)

    @sentences()
    @libraries.logging_as_it_is()
    def run(self, data_dir: str) -> "RunResult":
        """Run the job on the four tables in `data_dir`.

        Raises:
            InputError: if the settings, the data or the output folder are wrong; then nothing is written.
        """
        started = time.monotonic()
        self._config.check(data_dir)
        self.load()
        options = self._options(data_dir)
        self._prepare_encoder()
        tables = self._find(data_dir)
        with self._writing():
            manifest, counted, steps = self._run(tables, options)
        return RunResult(self._output, manifest, time.monotonic() - started, steps, counted)

    @sentences()
    @libraries.logging_as_it_is()
    def submit(self, data_dir: str) -> "Submitted":
        """Submit the job on the four tables in `data_dir` to Dataflow, without waiting for it.

        Raises:
            InputError: as `run`, or if `--runner` in the options is not DataflowRunner.
        """
        self.load()
        from recsys_tft.beam_pipelines import dataflow
        from recsys_tft.beam_pipelines.run import submit_job

        self._config.check(data_dir)
        options = self._options(data_dir)
        if not dataflow.is_dataflow(options):
            raise UsageError("--no-wait needs --runner=DataflowRunner.")
        self._prepare_encoder()
        tables = self._find(data_dir)
        with self._writing():
            return submit_job(self._plan(tables, options), options, self._say)

    @sentences()
    @libraries.logging_as_it_is()
    def run_synthetic(
        self,
        num_users: int = 1000,
        num_videos: int = 500,
        num_interactions: int = 10_000,
        versioned: bool = False,
        ids: str = IdKind.INTEGER,
    ) -> "RunResult":
        """Generate seeded raw tables, keep them in `raw/` of the output, and run the job on them.

        With `versioned` users, videos and channels change over time, and have several rows each (`updated_at`).
        `ids` are integer, string, uuid or uint64.

        Raises:
            InputError: as `run`, or if a number is below 1.
        """
        from recsys_tft.tables import synthetic, synthetic_sizes

        started = time.monotonic()
        raw = self._output.staged("raw")
        sizes = {"users": num_users, "videos": num_videos, "interactions": num_interactions}
        if "://" in raw:
            raise UsageError(
                f"--synthetic makes its tables on this machine, but the output is {self._output.target('raw')}; make "
                "them with a local --output-dir, copy its raw/ to a bucket, and name the copy with --data-dir."
            )
        synthetic_sizes.check(**sizes, seed=self._settings.seed)
        kind = synthetic_sizes.id_kind(ids)
        self._config.check()
        self.load()
        options = self._options(raw)
        self._prepare_encoder()
        with self._writing("raw"):
            self._say(f"Generating {num_interactions:,} interactions of {num_users:,} users with {num_videos:,} videos")
            chosen = self._settings
            made: dict[str, Any] = sizes | {
                "seed": chosen.seed,
                "versioned": versioned,
                "features": chosen.table,
                "ids": kind,
            }
            synthetic.write_tables(raw, **made)
            manifest, counted, steps = self._run(self._find(raw), options)
        return RunResult(self._output, manifest, time.monotonic() - started, steps, counted)

    def get_feature_specs(self) -> dict[str, dict[str, "tf.io.FixedLenFeature | tf.io.VarLenFeature"]]:
        """The feature specs for tf.io.parse_example, by data set and column.

        Raises:
            InputError: if nothing has been written yet.
        """
        folders = OutputFolders(self._output)
        return {name.removesuffix("_train"): folder.feature_spec() for name, folder in folders.items() if _first(name)}

    @staticmethod
    def load() -> None:
        """Import the large libraries."""
        with libraries.first_import():
            importlib.import_module("recsys_tft.beam_pipelines.run")

    @contextlib.contextmanager
    def _writing(self, *also: str) -> Iterator[None]:
        """Hold the output and leave nothing half-written in it; `also`: further parts that the run writes."""
        with contextlib.ExitStack() as locks:
            for folder in self._output.local_folders:
                locks.enter_context(sole_writer(folder, "run"))
            self._output.begin(self._config.overwrite, *also)
            try:
                with sentences():
                    yield
            except StillRunning:
                raise
            except BaseException as error:
                if self._output.is_staged or not self._output.local_folders:
                    error.add_note("the output is unchanged")
                self._output.discard()
                raise

    def _prepare_encoder(self) -> None:
        """Load the text encoders, so that errors come before any data is read."""
        for spec, name in encoders(self._settings).items():
            self._say("Loading the title encoder" if name == "title_encoder" else f"Loading the encoder {name}")
            title_encoder.resolve(spec, self._settings.title_precision, self._say)
            title_encoder.width(spec, self._settings.title_precision)

    def _find(self, data_dir: str) -> dict[str, "RawTable"]:
        from recsys_tft.point_in_time import counters
        from recsys_tft.tables import raw_tables

        tables = self._found.pop(data_dir, None) or self._config.tables(data_dir, self._settings)
        self._settings = self._settings.replace({"ids": raw_tables.id_settings(tables)})
        computed = counters.computed_columns(self._settings.counters, tables["videos"].absent)
        for table in (table for table in tables.values() if table.fingerprint):
            for warning in table.warnings(computed):
                self._say(f"warning: {warning}")
        if computed:
            self._say("Counting views, likes and comments of videos before each exposure (counters.source)")
        return tables

    def _options(self, data_dir: str) -> "PipelineOptions":
        """Beam's options, checked before anything is written."""
        from recsys_tft.beam_pipelines import dataflow
        from recsys_tft.beam_pipelines.options import beam_options, check_here

        options = beam_options((*self._settings.beam_arguments, *self._config.beam_args))
        if not options.get_all_options()["runner"]:
            check_here(beam_options(self._config.beam_args))
        if dataflow.is_dataflow(options):
            places = {"--data-dir": data_dir, "--output-dir": posixpath.dirname(self._output.target("rejected"))}
            places |= {f"{name}_dir": self._output.target(name) for name in ("processed_data", "artifacts")}
            if self._settings.encoder_cache is not None:
                places["encoder_cache"] = self._settings.encoder_cache
            dataflow.check(options, places)
            dataflow.name_job(options, data_dir, datetime.datetime.now(datetime.UTC))
        self._reach(data_dir)
        return options

    def _reach(self, data_dir: str) -> None:
        """Refuse a bucket that does not answer, for which readers and writers would wait for minutes."""
        used = encoders(self._settings)
        models = [m for e in used for m in ([e] if isinstance(e, str) else [e.preprocessor, e.encoder])]
        buckets = [model for model in models if places.scheme(model) == "gs"]
        targets = [target for name, target in self._output.targets if name != "raw"]
        places.reach([data_dir, self._settings.encoder_cache or "", *targets, *buckets])

    def _plan(self, tables: dict[str, "RawTable"], options: "PipelineOptions") -> "Job":
        from recsys_tft.beam_pipelines import dataflow
        from recsys_tft.beam_pipelines.job import advice, plan

        elsewhere = dataflow.is_dataflow(options)
        settings = dataflow.reachable(self._settings, options, self._say) if elsewhere else None
        job = plan(self._settings, tables, self._output, settings, self._config.earlier)
        for sentence in advice(job):
            self._say(sentence)
        return job

    def _run(
        self, tables: dict[str, "RawTable"], options: "PipelineOptions"
    ) -> tuple[dict[str, Any], dict[str, int], dict[str, float]]:
        from recsys_tft.beam_pipelines.run import run_job

        embedding_cache.NOTICED.clear()  # of earlier runs in this process
        done = run_job(self._plan(tables, options), options, self._config.workers, self._say)
        while embedding_cache.NOTICED:
            path, why = embedding_cache.NOTICED.popitem()
            self._say(f"warning: {path}: this file of the encoder_cache is not used ({why}); remove it")
        for warning in done[0].get("warnings", ()):
            self._say(f"warning: {warning}")
        return done


def _first(name: str) -> bool:
    return not name.endswith(("_val", "_test"))


class RunResult(Mapping[str, DataFolder]):
    """The data folders that a run wrote, by name, such as `two_tower_train`, `ranker_val`, `users`.

    Attributes:
        manifest: settings, versions, inputs and counts of the run.
        seconds: how long it took.
        steps: the seconds spent in each step, on all workers.
        counters: Beam's metrics of the counts in the manifest, as a runner shows them.
    """

    def __init__(
        self,
        output: Output,
        manifest: dict[str, Any],
        seconds: float,
        steps: dict[str, float],
        counters: dict[str, int],
    ):
        self._folders = OutputFolders(output)
        self.output = output
        self.manifest = manifest
        self.seconds = seconds
        self.steps = steps
        self.counters = counters

    def __getitem__(self, name: str) -> DataFolder:
        return self._folders[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)
