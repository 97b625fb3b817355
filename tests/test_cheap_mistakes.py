"""Mistakes that need no library to be seen: they are found before TensorFlow and Beam are loaded."""

import pathlib
import subprocess
import sys
import threading

import pytest

from recsys_tft.cli import main
from recsys_tft.errors import InputError
from recsys_tft.storage import places

HUGE = "1" + "0" * 30
RUN = ["run", "--synthetic", "--title-encoder", "none", "--output-dir", "OUT"]
DATA = ["run", "--title-encoder", "none", "--output-dir", "OUT", "--data-dir"]

MISTAKES = [
    ([*DATA, "OUT/nowhere"], "/nowhere: there is no such folder."),
    ([*DATA, "s3://b/raw"], "--data-dir is 's3://b/raw'; s3:// needs the package boto3: run `pip install 'apach"),
    ([*DATA, "hdfs://h/raw"], "needs the package hdfs: run `pip install 'apache-beam[hadoop]'`."),
    ([*DATA, "azfs://a/b/c"], "needs the package azure.storage.blob: run `pip install 'apache-beam[azure]'`."),
    ([*DATA, "foo://b/raw"], "--data-dir is 'foo://b/raw'; foo:// is not a filesystem of Beam; expected one of gs"),
    ([*DATA, "http://h/raw"], "http:// is not a filesystem of Beam"),
    ([*DATA, "file:///raw"], "--data-dir is 'file:///raw'; write only the path: /raw."),
    ([*DATA, "gs://"], "--data-dir is 'gs://'; expected the name of a bucket, such as gs://bucket/folder."),
    ([*DATA, ""], "--data-dir is ''; expected the name of a folder or file."),
    ([*RUN, "--output-dir", " "], "--output-dir is ' '; expected the name of a folder or file."),
    ([*RUN, "--output-dir", "s3://b/out"], "--output-dir is 's3://b/out'; s3:// needs the package boto3"),
    ([*RUN, "--config", ""], "--config is ''; expected the name of a folder or file."),
    ([*RUN, "--output-dir", "out\udcff"], "--output-dir is 'out\\udcff', which is not UTF-8; rename it."),
    ([*RUN, "--config", "s3://b/c.yaml"], "--config is 's3://b/c.yaml'; s3:// needs the package boto3"),
    ([*RUN, "--title-encoder", "s3://b/m"], "title_encoder: s3://b/m cannot be loaded: models are loaded from"),
    ([*RUN, "--title-encoder", "./no-model"], "title_encoder: ./no-model cannot be loaded: there is no such folder"),
    ([*RUN, "--users", HUGE], "Synthetic tables take users of at most 1000000000, got a longer number."),
    ([*RUN, "--interactions", HUGE], "Synthetic tables take interactions of at most 1000000000000, got a longer"),
    ([*RUN, "--seed", HUGE], "the options: seed is 1000000000000000000000000000000; expected a number below"),
    ([*RUN, "--negative-ratio", HUGE], "the options: ranker.negative_sample_ratio is 1000"),
    ([*RUN, "--workers", HUGE], "--workers is a number of 31 digits; it takes at most 1024."),
    (["recommend", "-k", HUGE], "-k is a number of 31 digits; it takes at most 1000000."),
    (["recommend", "-k", "-3"], "-k is -3; it needs at least 1."),
    (["recommend", "--user-id", HUGE], "--user-id is a number of 31 digits; it takes at most 9223372036854775807."),
    (["recommend", "--age", HUGE], "--age is a number of 31 digits; it takes at most"),
    (["recommend", "--history-video-ids", "1", HUGE], "--history-video-ids is a number of 31 digits; it takes"),
    (["recommend", "--time", "2025-02-30"], "--time is '2025-02-30'; expected a time"),
    (["recommend", "--output-dir", "OUT"], "/serving: looked for an exported version, found none; run recsys"),
    (["recommend", "--output-dir", "OUT", "--version", HUGE], "/serving: looked for version 1000"),
    (["recommend", "--output-dir", "OUT", "--config", "OUT/none.yaml"], "/none.yaml: cannot read the config (No such"),
    (["export", "--output-dir", "OUT"], "/artifacts/manifest.json: no run there; run the main job first"),
    (["export", "--output-dir", "gs://b/out"], "gs://b/out: only the main job supports this filesystem"),
    (["verify", "--output-dir", "OUT"], "/artifacts/manifest.json: no run there; run the main job first"),
    (["verify", "--rows", HUGE], "--rows is a number of 31 digits; it takes at most"),
    (["verify", "--seed", "-1"], "--seed is -1; it needs at least 0."),
    (["audit", "--output-dir", "OUT"], "/artifacts/manifest.json: no run there; run the main job first"),
    (["audit", "--seed", "-1"], "--seed is -1; it needs at least 0."),
    (["train", "ranker", "--output-dir", "OUT"], "/artifacts/manifest.json: no run there; run the main job first"),
    (["similar", "--title", "x", "--output-dir", "OUT"], "/artifacts/embeddings: there are no title embeddings"),
    (["similar", "--title", " "], "--title is blank; expected some words."),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES)
def test_a_cheap_mistake_is_one_sentence(
    tmp_path: pathlib.Path, arguments: list[str], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main([argument.replace("OUT", str(tmp_path)) for argument in arguments])
    error = capfd.readouterr().err
    assert code in (1, 2)
    assert error.startswith("error: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_no_cheap_mistake_loads_tensorflow_or_beam(tmp_path: pathlib.Path) -> None:
    (tmp_path / "out" / "processed_data").mkdir(parents=True)
    commands = [[argument.replace("OUT", str(tmp_path)) for argument in arguments] for arguments, _ in MISTAKES]
    commands.append(["run", "--synthetic", "--output-dir", str(tmp_path / "out")])
    code = f"""
import sys
from recsys_tft.cli import main
for arguments in {commands!r}:
    assert main(arguments), arguments
    loaded = {{"tensorflow", "apache_beam", "catboost", "keras"}} & set(sys.modules)
    assert not loaded, (arguments, loaded)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_bucket_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PATIENCE", 0.05)
    for_ever = threading.Event()
    monkeypatch.setattr(places, "_listed", lambda _: for_ever.wait(60))
    with pytest.raises(InputError, match="gs://b/raw: no answer within 0 s"):
        places.reach(["gs://b/raw", "/local"])
    for_ever.set()
