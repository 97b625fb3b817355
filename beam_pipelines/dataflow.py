"""Jobs on Dataflow: paths that its workers can read, the name and labels of a job, and the package itself.

Everything is checked before anything is read or written: in the cloud, a job fails minutes later.
"""

import dataclasses
import datetime
import os
import pathlib
import posixpath
import re
from collections.abc import Callable, Mapping

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from recsys_tft import feature_tables, project_modules
from recsys_tft.beam_pipelines import wheel
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import UsageError
from recsys_tft.titles import encoder_spec, title_encoder
from recsys_tft.titles.encoder_spec import Pair, Spec
from recsys_tft.titles.text_embedding import encoders, text_features, text_op

_MODEL = "saved_model.pb"  # the last file of an encoder to be copied
_LONGEST = 63  # of a job's name and of a label
_NEEDED = {"project": "my-project", "region": "europe-west1", "temp_location": "gs://my-bucket/temp"}


def is_dataflow(options: PipelineOptions) -> bool:
    """Whether the job runs on Dataflow."""
    runner = options.view_as(StandardOptions).runner or ""
    return runner.rpartition(".")[2].lower() == "dataflowrunner"


def check(options: PipelineOptions, places: Mapping[str, str]) -> None:
    """Checks options and paths of a job.

    Args:
        options: of Beam.
        places: folders and files that workers read or write, by the option that names them.

    Raises:
        UsageError: if an option is missing or wrong, or a place is on this machine.
    """
    google = options.view_as(GoogleCloudOptions)
    missing = [name for name in _NEEDED if not getattr(google, name)]
    if missing:
        example = " ".join(f"--{name}={_NEEDED[name]}" for name in missing)
        raise UsageError(f"--runner=DataflowRunner needs {example}.")
    for name in ("temp_location", "staging_location"):
        place = getattr(google, name)
        if place and not re.fullmatch(r"gs://[^/]+/.+", place):
            raise UsageError(
                f"--{name} is '{place}'; Dataflow needs a folder of a bucket, such as gs://my-bucket/temp."
            )
    for name, place in places.items():
        if "://" not in place:
            raise UsageError(
                f"{name} is '{place}', on this machine, where Dataflow's workers do not reach it; "
                "it has to be in a bucket, such as gs://my-bucket/folder."
            )
    if google.job_name and not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", google.job_name):
        raise UsageError(
            f"--job_name is '{google.job_name}'; it has to be of lower-case letters, digits and '-', "
            "to begin with a letter, and not to end with '-'."
        )


def data_set_name(data_dir: str) -> str:
    """The last two parts of a path, as a name or label of a job may spell them."""
    parts = [part for part in data_dir.partition("://")[2].split("/") if part] or ["data"]
    return _plain("-".join(parts[-2:]))


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "data"


def name_job(options: PipelineOptions, data_dir: str, now: datetime.datetime) -> None:
    """Gives the job a name with data set and time, and labels; those of the user's options go first."""
    google = options.view_as(GoogleCloudOptions)
    data_set = data_set_name(data_dir)
    if not google.job_name:
        time = now.strftime("%Y%m%d-%H%M%S")
        room = _LONGEST - len(f"recsys-tft--{time}")
        google.job_name = f"recsys-tft-{data_set[-room:].strip('-')}-{time}"
    labels = {"recsys-tft": _plain(wheel.version()), "data-set": data_set[-_LONGEST:].strip("-")}
    # Of two labels with one key Beam takes the later one.
    google.labels = [*(f"{key}={value}" for key, value in labels.items()), *(google.labels or [])]


def add_package(options: PipelineOptions, folder: str) -> None:
    """Sends this package to the workers, unless their container has it or the options send it.

    Args:
        options: of Beam.
        folder: where to build it.
    """
    setup, worker = options.view_as(SetupOptions), options.view_as(WorkerOptions)
    given = [pathlib.PurePath(path).name.replace("-", "_") for path in setup.extra_packages or []]
    if setup.setup_file or worker.sdk_container_image or any(name.startswith(wheel.DISTRIBUTION) for name in given):
        return
    setup.extra_packages = [*(setup.extra_packages or []), wheel.build(folder)]


def add_project(options: PipelineOptions, folder: str, features: str | None) -> None:
    """Sends the modules of the user's feature table to the workers, however they get this package.

    Args:
        options: of Beam.
        folder: where to build the wheel.
        features: of the settings on this machine.
    """
    if features is None:
        return
    setup = options.view_as(SetupOptions)
    built = wheel.build_project(folder, project_modules.files(feature_tables.place_of(features)))
    setup.extra_packages = [*(setup.extra_packages or []), built]


def scratch(options: PipelineOptions) -> str:
    """The folder of a job's temporary files, and of files that later jobs use again."""
    return posixpath.join(options.view_as(GoogleCloudOptions).temp_location, "recsys_tft")


def reachable(settings: Settings, options: PipelineOptions, say: Callable[[str], None]) -> Settings:
    """The settings adjusted for workers, which have no access to local folders, text encoders and caches."""
    if settings.features is not None:  # by its name, since there it is installed
        settings = settings.model_copy(update={"features": feature_tables.place_of(settings.features).module})
    if not encoders(settings):
        return settings
    folder, precision = scratch(options), settings.title_precision
    changes: dict[str, object] = {}
    if settings.encoder_cache is None:
        changes["encoder_cache"] = f"{folder}/title_vectors"

    def placed(spec: Spec) -> Spec:
        found = title_encoder.resolve(spec, precision)
        if not isinstance(found, Pair):
            return _in_bucket(found, folder, say)
        preprocessor, encoder = (_in_bucket(model, folder, say) for model in (found.preprocessor, found.encoder))
        return dataclasses.replace(found, preprocessor=preprocessor, encoder=encoder)

    if settings.title_encoder != encoder_spec.NONE:
        changes["title_encoder"] = placed(settings.title_encoder)
    own = {feature.name: text_op(feature).encoder for feature in text_features(settings)}
    placed_own = {name: placed(encoder) for name, encoder in own.items() if encoder is not None}
    if placed_own:
        changes["text_encoders"] = {**settings.text_encoders, **placed_own}
    return settings.model_copy(update=changes)


def _in_bucket(model: str, folder: str, say: Callable[[str], None]) -> str:
    """The address of a model that workers can read; a local one is copied, once for the same files."""
    if not os.path.isdir(model):  # noqa: PTH112, as it may be a URL
        return model
    target = f"{folder}/title_encoders/{title_encoder.fingerprint(model)}"
    if FileSystems.exists(f"{target}/{_MODEL}"):
        return target
    say(f"Copying the title encoder to {target}")
    files = sorted(file for file in pathlib.Path(model).rglob("*") if file.is_file())
    for file in sorted(files, key=lambda file: file.name == _MODEL):
        with FileSystems.create(
            f"{target}/{file.relative_to(model).as_posix()}", compression_type="uncompressed"
        ) as copy:
            copy.write(file.read_bytes())
    return target


def console(options: PipelineOptions, job_id: str) -> str:
    """The address of a job's page."""
    google = options.view_as(GoogleCloudOptions)
    return f"https://console.cloud.google.com/dataflow/jobs/{google.region}/{job_id}?project={google.project}"
