"""Output folder of a trainer, OUTPUT_DIR/models/NAME, which appears only when training has ended.

While it is going on, its logs and checkpoints grow in OUTPUT_DIR/models/NAME.training, from which it can be resumed.
Both are links: see version_folders.py.
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
DESCRIPTIONS = {"ranker": "columns.json", "two_tower": MODEL}  # which say of which rows a model is
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
        version: of the finished model, where one is held.
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
        """Refuse an existing model that may not be replaced; one of an earlier period may be.

        Raises:
            InputError: if there is one, or models would be written outside the output.
        """
        require_inside(self.target.parent, self.output_dir)
        if self.target.exists() and not overwrite and not self._is_behind():
            raise InputError(f"{self.target} exists already; --overwrite replaces it.")

    def _is_behind(self) -> bool:
        """Whether the model is of the run or a period, and a later period is there."""
        from recsys_tft.run_layout import periods  # which needs more than the help of a command does

        found: dict[str | None, str] = {None: self.output_dir}
        found.update(periods.folders(self.output_dir))
        with contextlib.suppress(InputError):  # what is damaged is replaced if that is asked for
            made = self.read(DESCRIPTIONS[self.name])
            root = found.get(made.get("period"))
            is_last = root == list(found.values())[-1]
            return root is not None and not is_last and made["transform_graph"] == fingerprint(root)
        return False

    @contextlib.contextmanager
    def writing(self, overwrite: bool) -> Iterator[None]:
        """Keep other trainings of this model out of the folder as long as the block runs.

        Raises:
            InputError: as `check_free`, or if there is one.
        """
        self.check_free(overwrite)
        with sole_writer(self.target.parent, f"training of {self.name}", f".{self.name}.lock"):
            yield

    def begin(self, resume: bool, fingerprint: Mapping[str, Any]) -> None:
        """Prepares `work`: as it was left, to resume; else empty.

        Raises:
            InputError: if there is nothing to resume, or what there is was trained with other settings or on other
                rows.
        """
        begun = self.work / _BEGUN
        if resume:
            if not begun.is_file():
                raise InputError(f"{self.work}: no interrupted training to resume; leave out --resume.")
            if json_files.read(begun, "start again without --resume") != json.loads(json.dumps(fingerprint)):
                raise InputError(
                    f"{self.work}: that training had other settings or rows; start again without --resume."
                )
            self._folders.adopt_staged()
            return
        self._folders.begin()
        begun.write_text(json.dumps(fingerprint))

    def commit(self) -> None:
        """Put `work` in the place of the model."""
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
        """The command that makes a damaged model anew."""
        command = self.name.replace("_", "-")
        return f"train it again (recsys-tft train {command} --output-dir {self.output_dir} --overwrite)"


def settings_for(output_dir: str, config: str | None, seed: int | None, refit: str | None = None) -> settings.Settings:
    """The run's settings, with the training settings of a config file in their place.

    Args:
        output_dir: of the run.
        config: the file.
        seed: in the place of theirs.
        refit: the section whose `refit` is true, whatever they say.

    Raises:
        InputError: if there is no run, or the file changes what the rows were made by.
    """
    made = manifest(output_dir)
    of_run = settings.from_manifest(made, f"{output_dir}/artifacts/manifest.json")
    changes: dict[str, Any] = {} if seed is None else {"seed": seed}
    if config is not None:
        given = settings.load(config)
        free = {"embeddings", "two_tower", "recommender", "seed", "encoder_cache", "beam"}
        if given.features is not None and made.get(table_records.RECORD):
            free.add("features")  # which another folder may hold by now
            table_records.check({**made, "settings": {"features": given.features}}, config)
        for name in sorted(given.model_fields_set - free):
            _same(getattr(of_run, name), getattr(given, name), name, config)
        names = given.model_fields_set & {"embeddings", "two_tower", "ranker"} | ({"seed"} if seed is None else set())
        found = given.model_dump(mode="json", exclude_unset=True)
        changes |= {name: found[name] for name in names if name in found}
    merged = of_run.replace(changes)
    return merged.replace({refit: {"refit": True}}) if refit else merged


def _same(old: Any, new: Any, path: str, config: str) -> None:
    """InputError if a setting that the rows were made by differs."""
    if hasattr(new, "model_fields_set"):
        for name in sorted(new.model_fields_set - (model_settings.RANKER_TRAINING if path == "ranker" else set())):
            _same(getattr(old, name), getattr(new, name), f"{path}.{name}", config)
    elif (shown := _shown(old)) != _shown(new):
        raise InputError(f"{config}: {path} is {new!r}, but the rows were made with {shown!r}; run the main job again.")


def _shown(value: Any) -> Any:
    """A value as a manifest may hold it: of the address of a title encoder, what opens it is left out."""
    if isinstance(value, Pair):
        return dataclasses.replace(value, preprocessor=redacted(value.preprocessor), encoder=redacted(value.encoder))
    return redacted(value) if isinstance(value, str) else value
