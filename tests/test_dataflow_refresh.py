"""A refresh submitted to Dataflow, to a stub on the loopback interface; and that job, executed."""

import pathlib
import re

import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from cloud_stub import Cloud
from compared_outputs import assert_same_output
from staged_jobs import beam_args, execute, staged, steps
from workspace import files_seen

from recsys_tft import cli
from recsys_tft.errors import UsageError
from recsys_tft.refreshing import submit
from recsys_tft.run_layout.output import REPLACED
from recsys_tft.run_layout.state_files import CATALOGUE, FITTED_VIDEOS

pytestmark = pytest.mark.slow
DAY = "2025-03-04"
OUT, DATA = "gs://bucket/daily/out", f"gs://bucket/daily/data/{DAY}"


@pytest.fixture(scope="module")
def said(cloud: Cloud, first_days: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The submission of the next day; a file with what the command said."""
    for root in ("out", "out/periods/2025-03-02", "out/periods/2025-03-03", "data"):
        for name, path in files_seen(first_days / root).items():
            if not name.startswith("periods/"):
                cloud.write(f"bucket/daily/{root}/{name}", path.read_bytes())
    folder = tmp_path_factory.mktemp("submission")
    (folder / "dataflow.yaml").write_text("beam: {runner: DataflowRunner, num_workers: 4}\nseed: 99\n")
    where = ["--output-dir", OUT, "--data-dir", DATA, "--config", str(folder / "dataflow.yaml")]
    with pytest.MonkeyPatch.context() as patch, (folder / "said").open("w") as file:
        patch.setattr("sys.stdout", file)
        assert cli.main(["refresh", *where, *beam_args(cloud, "--max_num_workers=8"), "--no-wait"]) == 0
    return folder / "said"


@pytest.fixture(scope="module")
def graph(cloud: Cloud, said: pathlib.Path) -> beam_runner_api_pb2.Pipeline:
    assert said
    return staged(cloud, cloud.jobs[-1])[1]


def test_the_command_says_where_the_period_will_be(cloud: Cloud, said: pathlib.Path) -> None:
    job = cloud.jobs[-1]
    assert re.fullmatch(r"recsys-tft-data-2025-03-04-20\d{6}-\d{6}", job["name"])
    (pool,) = job["environment"]["workerPools"]
    assert (pool["numWorkers"], pool["autoscalingSettings"]["maxNumWorkers"]) == (4, 8)
    assert f"{OUT}/periods/{DAY}/artifacts/manifest.json appears when" in said.read_text()


def test_no_step_gathers_the_state_or_is_sent_the_paths_of_its_files(graph: beam_runner_api_pb2.Pipeline) -> None:
    found = list(steps(graph))
    assert {(step._threads, step._staging_folder) for step in found} == {(1, None)}
    options = [step._function.keywords for step in found]
    jobs = [each["job"] for each in options if "job" in each]
    assert len(jobs) > 10
    assert {name for job in jobs for name in job.earlier.files} == {CATALOGUE, FITTED_VIDEOS}  # of videos, a few bytes
    assert {job.earlier.graph for job in jobs} == {f"{OUT}/periods/2025-03-03/artifacts/transform_graph"}
    names = {transform.unique_name for transform in graph.components.transforms.values()}
    for table in ("users", "rare"):  # those with several files here, which other workers read than who names them
        assert f"Files of {table}/MaybeReshuffle/Reshuffle/ReshufflePerKey/GroupByKey" in names


def test_the_staged_graph_writes_what_a_local_refresh_writes(
    cloud: Cloud, graph: beam_runner_api_pb2.Pipeline, fourth_day: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    before = cloud.below("bucket/daily/out")
    execute(graph)
    after = cloud.below("bucket/daily/out")
    new = {name.removeprefix(f"periods/{DAY}/"): after[name] for name in after.keys() - before.keys()}
    assert {name: after[name] for name in before} == before
    for name, data in new.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert {path.name for path in tmp_path.iterdir()} == {*REPLACED} - {"rejected"}
    assert_same_output(tmp_path, fourth_day / "out/periods" / DAY, "processed_data", "artifacts", "state")


def test_what_dataflow_cannot_reach_is_refused(first_days: pathlib.Path, cloud: Cloud) -> None:
    arguments = ("--runner=DataflowRunner", *beam_args(cloud))
    with pytest.raises(UsageError, match=r"--output-dir is '.*out/periods/2025-03-04', on this machine"):
        submit(str(first_days / "out"), DATA, beam_args=arguments)
    with pytest.raises(UsageError, match="--no-wait needs --runner=DataflowRunner"):
        submit(str(first_days / "out"), str(first_days / "data" / DAY))
