"""Output folder of a trainer, OUTPUT_DIR/models/NAME, which appears when training has ended.

Until then logs and checkpoints are in OUTPUT_DIR/models/NAME.training, from which it can be resumed. Both are links:
see version_folders.py.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from recsys_tft import table_records
from recsys_tft.configuration import model_settings, settings
from recsys_tft.errors import InputError, redacted, require_inside
from recsys_tft.run_layout.run_folders import fingerprint, manifest
from recsys_tft.storage import json_files
from recsys_tft.storage.locks import sole_writer
from recsys_tft.storage.version_folders import Held, VersionFolders
from recsys_tft.titles.encoder_spec import Pair

METRICS, MODEL = "metrics.json", "model.json"
_BEGUN = "begun.json"
DESCRIPTIONS = {"ranker": "columns.json", "two_tower": MODEL}  # files that record a model's rows
_KEYS = {
    ("ranker", DESCRIPTIONS["ranker"]): ("columns", "transform_graph"),
    ("two_tower", MODEL): ("settings", "query_features", "candidate_features", "categories", "transform_graph"),
}


@dataclasses.dataclass(frozen=True)
class ModelFolder:
    """The folder of one model.

    Attributes:
        output_dir: of the run whose rows are trained on.
        name: two_tower or ranker.
        version: of the finished model, if one is held.
    """

    output_dir: str
    name: str
    version: pathlib.Path | None = None

    @property
    def target(self) -> pathlib.Path:
        """The folder of the finished model."""
        return self.version or pathlib.Path(self.output_dir, "models", self.name)

    @property
    def work(self) -> pathlib.Path:
        """The folder of the training in progress."""
        return self._folders.staged

    @property
    def _folders(self) -> VersionFolders:
        root, name = self.target.parent, self.name
        return VersionFolders(root, pointer=name, staging=f"{name}.training", versions=f".{name}.versions")

    @property
    def has_begun(self) -> bool:
        """Whether there is an interrupted training that can be resumed."""
        return (self.work / _BEGUN).is_file()

    def check_free(self, overwrite: bool) -> None:
        """Refuse to replace an existing model, unless `overwrite` or it is of an earlier period.

        Raises:
            InputError: if there is one, or models would be written outside the output.
        """
        require_inside(self.target.parent, self.output_dir)
        if self.target.exists() and not overwrite and not self._is_behind():
            raise InputError(f"{self.target} exists already; --overwrite replaces it.")

    def _is_behind(self) -> bool:
        """Whether there is a later period than that of the model."""
        from recsys_tft.run_layout import periods  # not needed by the help of a command

        folders: dict[str | None, str] = {None: self.output_dir}
        folders.update(periods.folders(self.output_dir))
        with contextlib.suppress(InputError):  # damaged models are replaced with --overwrite
            described = self.read(DESCRIPTIONS[self.name])
            root = folders.get(described.get("period"))
            is_last = root == list(folders.values())[-1]
            return root is not None and not is_last and described["transform_graph"] == fingerprint(root)
        return False

    @contextlib.contextmanager
    def writing(self, overwrite: bool) -> Iterator[None]:
        """Lock the folder against other trainings of this model while the block runs.

        Raises:
            InputError: as `check_free`, or if another training runs.
        """
        self.check_free(overwrite)
        with sole_writer(self.target.parent, f"training of {self.name}", f".{self.name}.lock"):
            yield

    def begin(self, resume: bool, fingerprint: Mapping[str, Any]) -> None:
        """Prepare `work`: as it was left, to resume; otherwise empty.

        Raises:
            InputError: if there is nothing to resume, or it was trained with other settings or on other rows.
        """
        record = self.work / _BEGUN
        if resume:
            if not record.is_file():
                raise InputError(f"{self.work}: no interrupted training to resume; leave out --resume.")
            if json_files.read(record, "start again without --resume") != json.loads(json.dumps(fingerprint)):
                raise InputError(
                    f"{self.work}: that training had other settings or rows; start again without --resume."
                )
            self._folders.adopt_staged()
            return
        self._folders.begin()
        record.write_text(json.dumps(fingerprint))

    def commit(self) -> None:
        """Replace the model by `work`."""
        self._folders.commit()
        self._folders.prune()
        (self.target / _BEGUN).unlink(missing_ok=True)

    @contextlib.contextmanager
    def held(self) -> Iterator["ModelFolder"]:
        """The finished model, held unchanged as long as the block runs.

        Raises:
            InputError: if no model has been trained.
        """
        try:
            version = Held(self.target)
        except FileNotFoundError:
            raise self._missing(self.target) from None
        with version:
            yield dataclasses.replace(self, version=version.path)

    def _missing(self, path: pathlib.Path) -> InputError:
        command = self.name.replace("_", "-")
        return InputError(f"{path}: no such model; train it first (recsys-tft train {command}).")

    def read(self, file: str) -> Any:
        """Read a JSON file of the finished model.

        Raises:
            InputError: if no model has been trained.
        """
        path = self.check(file)
        return json_files.read(path, self.remedy, _KEYS.get((self.name, file), ()))

    def check(self, file: str = METRICS) -> pathlib.Path:
        """The path of a file of the finished model.

        Raises:
            InputError: if no model has been trained.
        """
        path = self.target / file
        if not path.exists():
            raise self._missing(path)
        return path

    @property
    def remedy(self) -> str:
        """The command that makes a damaged model again."""
        command = self.name.replace("_", "-")
        return f"train it again (recsys-tft train {command} --output-dir {self.output_dir} --overwrite)"


def settings_for(output_dir: str, config: str | None, seed: int | None, refit: str | None = None) -> settings.Settings:
    """The run's settings, with training settings replaced by those of a config file.

    Args:
        output_dir: of the run.
        config: the file.
        seed: replaces the seed of both.
        refit: the section whose `refit` is set to true.

    Raises:
        InputError: if there is no run, or the file changes settings that the rows were made with.
    """
    run_manifest = manifest(output_dir)
    run_settings = settings.from_manifest(run_manifest, f"{output_dir}/artifacts/manifest.json")
    changes: dict[str, Any] = {} if seed is None else {"seed": seed}
    if config is not None:
        config_settings = settings.load(config)
        free = {"embeddings", "two_tower", "recommender", "seed", "encoder_cache", "beam"}
        if config_settings.features is not None and run_manifest.get(table_records.RECORD):
            free.add("features")  # the module may have moved to another folder
            table_records.check({**run_manifest, "settings": {"features": config_settings.features}}, config)
        for name in sorted(config_settings.model_fields_set - free):
            _same(getattr(run_settings, name), getattr(config_settings, name), name, config)
        names = config_settings.model_fields_set & {"embeddings", "two_tower", "ranker"} | (
            {"seed"} if seed is None else set()
        )
        dumped = config_settings.model_dump(mode="json", exclude_unset=True)
        changes |= {name: dumped[name] for name in names if name in dumped}
    merged = run_settings.replace(changes)
    return merged.replace({refit: {"refit": True}}) if refit else merged


def _same(old: Any, new: Any, path: str, config: str) -> None:
    """Refuse different values of a setting that the rows were made with."""
    if hasattr(new, "model_fields_set"):
        for name in sorted(new.model_fields_set - (model_settings.RANKER_TRAINING if path == "ranker" else set())):
            _same(getattr(old, name), getattr(new, name), f"{path}.{name}", config)
    elif (shown := _shown(old)) != _shown(new):
        raise InputError(f"{config}: {path} is {new!r}, but the rows were made with {shown!r}; run the main job again.")


def _shown(value: Any) -> Any:
    """A value as in a manifest: without tokens in the address of a title encoder."""
    if isinstance(value, Pair):
        return dataclasses.replace(value, preprocessor=redacted(value.preprocessor), encoder=redacted(value.encoder))
    return redacted(value) if isinstance(value, str) else value
