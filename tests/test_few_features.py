"""A table that leaves out most of ours: what the job itself reads is still there."""

import pathlib

import pytest
from user_project import Project

from recsys_tft import PipelineConfig, ProcessingPipeline

KEPT = ("user_id_token", "video_id_token", "age_z", "interaction_time_day")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", ["", "counters: {source: as_of}\nrecent: {enabled: true}\ncooccurrence: {enabled: true}"]
)
def test_a_table_may_leave_out_nearly_all_features(options: str, project: Project, tmp_path: pathlib.Path) -> None:
    project.table(f"without=[name for name in DEFAULT.by_name if name not in {KEPT}]")
    config = PipelineConfig(str(tmp_path / "out"), config=project.config(f"features: features.py\n{options}"))
    result = ProcessingPipeline(config).run_synthetic(60, 40, 800)
    assert set(result["ranker_train"].feature_spec()) >= {"age_z", "interaction_time_day", "label"}
    assert "country_token" not in result["ranker_train"].feature_spec()
    assert result.manifest["counts"]["written/ranker/train"] > 100
