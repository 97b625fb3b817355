"""Whose files are read, and what is shown of an address."""

import pathlib

import pytest

from recsys_tft import PipelineConfig, cli
from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.errors import InputError, UsageError, redacted
from recsys_tft.progress import Progress
from recsys_tft.storage import ownership
from recsys_tft.titles import encoder_spec, minilm
from recsys_tft.titles.embedding_cache import EmbeddingCache
from recsys_tft.titles.encoder_spec import ADDRESSES_VARIABLE, Pair
from recsys_tft.training import model_folders

ADDRESSES = [
    ("https://me:s3cret@host/model", "https://***@host/model"),
    ("https://s3cret@host/model?tf-hub-format=compressed", "https://***@host/model?tf-hub-format=compressed"),
    ("https://host/m?token=s3cret&v=2", "https://host/m?token=***&v=2"),
    ("https://host/m?X-Goog-Signature=s3cret&X-Goog-Expires=9", "https://host/m?X-Goog-Signature=***&X-Goog-Expires=***"),
    ("https://host/m?sig=s3cret", "https://host/m?sig=***"),
    ("https://host/hf_s3cret0123456789/m", "https://host/hf_***/m"),
]  # fmt: skip


@pytest.mark.parametrize(("address", "shown"), ADDRESSES)
def test_no_token_of_an_address_is_shown_or_written(
    address: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = parse({"title_encoder": address}, "a test")
    assert settings.title_encoder == address
    assert settings.model_dump(mode="json")["title_encoder"] == shown
    assert "s3cret" not in settings.model_dump_json()
    assert (
        str(InputError(f"hub.load could not use {address} (no route)."))
        == f"hub.load could not use {shown} (no route)."
    )
    assert "s3cret" not in str(UsageError(address))
    with Progress() as progress:
        progress.say(f"note: Loading {address}")
    assert "s3cret" not in capsys.readouterr().out
    assert redacted(shown) == shown


def test_both_addresses_of_a_pair_are_shown_without_tokens() -> None:
    pair = Pair("https://a:s3cret@host/p", "https://host/e?token=s3cret")
    found = parse({"title_encoder": pair}, "a test").model_dump(mode="json")["title_encoder"]
    assert found == {
        "preprocessor": "https://***@host/p",
        "encoder": "https://host/e?token=***",
        "pooling": "pooled_output",
    }
    assert parse({"title_encoder": found}, "a test").title_encoder == Pair(
        "https://***@host/p", "https://host/e?token=***"
    )


def test_a_training_takes_the_config_of_the_run_in_spite_of_its_token(tmp_path: pathlib.Path) -> None:
    given = parse({"title_encoder": "https://me:s3cret@host/m"}, "a test")
    model_folders._same("https://***@host/m", given.title_encoder, "title_encoder", "config.yaml")
    with pytest.raises(InputError, match="title_encoder is 'https://\\*\\*\\*@host/other'"):
        model_folders._same("https://***@host/m", "https://me:s3cret@host/other", "title_encoder", "config.yaml")


def test_the_whole_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=f"environment variable {ADDRESSES_VARIABLE}"):
        encoder_spec.whole("https://***@host/m")
    monkeypatch.setenv(ADDRESSES_VARIABLE, "https://me:s3cret@host/m https://host/e?token=s3cret")
    assert encoder_spec.whole("https://***@host/m") == "https://me:s3cret@host/m"
    assert encoder_spec.whole(Pair("https://***@host/m", "https://host/e?token=***")).encoder.endswith("=s3cret")
    assert encoder_spec.whole("gs://b/m") == "gs://b/m"


@pytest.fixture(params=["of another user", "for every user to write"])
def doubtful(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    if request.param == "for every user to write":
        folder.chmod(0o777)
    else:
        monkeypatch.setattr(ownership.os, "getuid", lambda: folder.stat().st_uid + 1)
        monkeypatch.setattr(ownership, "_ROOT", -1)
    return folder


def test_a_cache_that_another_user_may_have_filled_is_refused(doubtful: pathlib.Path) -> None:
    with pytest.raises(InputError, match=f"^encoder_cache: {doubtful} .*not trusted"):
        EmbeddingCache(str(doubtful), "f" * 32, 4)
    with pytest.raises(InputError, match=f"{doubtful} .*not trusted"):
        minilm.export_minilm(doubtful)


def test_a_run_with_such_a_cache_ends_before_anything_is_loaded(doubtful: pathlib.Path, tmp_path: pathlib.Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"encoder_cache: {doubtful}")
    with pytest.raises(InputError, match=f"^encoder_cache: {doubtful} "):
        PipelineConfig(str(tmp_path / "out"), config=str(config)).check()


def test_an_output_of_another_user_is_warned_of(doubtful: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "--output-dir", str(doubtful)]) == 1
    warning, error = capfd.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {doubtful} ")
    assert "docs/trust.md" in warning
    assert error.startswith("error: ")


def test_folders_of_caches_are_of_their_user_alone_and_those_of_a_group_as_open_as_it_made_them(
    tmp_path: pathlib.Path,
) -> None:
    made = ownership.private_folder("encoder_cache", tmp_path / "mine")
    assert made.stat().st_mode & 0o777 == 0o700
    (tmp_path / "team").mkdir(mode=0o770)
    (tmp_path / "team").chmod(0o2770)
    cache = EmbeddingCache(str(tmp_path / "team"), "f" * 32, 4)
    cache._make_folders()
    assert pathlib.Path(cache.folder).stat().st_mode & 0o777 == 0o770


def test_the_defaults_raise_no_doubt(tmp_path: pathlib.Path) -> None:
    assert ownership.warning(str(tmp_path)) is None
    assert Settings().model_dump(mode="json")["title_encoder"] == "minilm"
