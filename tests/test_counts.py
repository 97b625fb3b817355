"""What Beam's metrics count, and a runner shows while the job runs, is what the manifest says."""

from compared_outputs import counted
from conftest import Ran


def test_metrics_of_the_runner_equal_the_counts_of_the_manifest(synthetic_run: Ran, movielens_run: Ran) -> None:
    for ran in (synthetic_run, movielens_run):
        assert ran.result.counters == counted(ran.result.manifest)
    assert {"rows/interactions/in", "written/ranker/train", "features/country_token/oov"} <= set(ran.result.counters)
