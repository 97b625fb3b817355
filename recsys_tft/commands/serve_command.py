"""`recsys-tft serve`. Like `cli.py`, this module imports nothing that `--help` does not need."""

import argparse
import functools
import importlib
import sys
from collections.abc import Sequence

from recsys_tft import libraries
from recsys_tft.errors import UsageError

EXAMPLE = """example:
  recsys-tft serve --output-dir output
  recsys-tft serve --output-dir out --host 0.0.0.0 --port 80 --config my.yaml

  curl -H 'Content-Type: application/json' -d '{"user_id": 5}' http://127.0.0.1:8080/recommend

http://127.0.0.1:8080/ is the web page, /openapi.json describes the API. Needs
`pip install 'recsys_tft[serve]'`."""
_MOST_PORT, _MOST_BATCH, _MOST_SECONDS = 65_535, 256, 86_400


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--output-dir", default="output", metavar="DIR", help="output of the export (default: output)")
    parser.add_argument("--host", default="127.0.0.1", metavar="HOST", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, metavar="P", help="port; 0 for a free one (default: 8080)")
    parser.add_argument("--config", metavar="FILE", help="YAML with `recommender` options (default: the run's)")
    parser.add_argument(
        "--index", choices=["hnsw", "ivf"], help="search an exported approximate index instead of all videos"
    )
    parser.add_argument(
        "--version",
        type=int,
        metavar="N",
        help="version of the export (default: the newest, reloaded when there is a newer one)",
    )
    parser.add_argument(
        "--redis",
        metavar="URL",
        help="address of Redis for events, such as redis://localhost:6379/0 (default: in memory)",
    )
    parser.add_argument(
        "--when-lost",
        choices=["error", "stale"],
        default="error",
        help="answers when Redis does not respond: an error, or the last known state",
    )
    parser.add_argument(
        "--batch", type=int, default=16, metavar="N", help="largest number of requests in one batch (default: 16)"
    )
    parser.add_argument(
        "--log-requests",
        metavar="DIR",
        help="log the raw columns of requests there, for recsys-tft compare (default: no log)",
    )
    parser.add_argument(
        "--log-rate", type=float, default=0.1, metavar="R", help="share of the requests that is logged (default: 0.1)"
    )
    parser.add_argument(
        "--reload-seconds",
        type=int,
        default=10,
        metavar="S",
        help="interval of checks for a newer export; 0: never (default: 10)",
    )


def serve(options: argparse.Namespace, _: Sequence[str]) -> int:
    """The recommender as an HTTP server."""
    from recsys_tft.commands import ready

    ready.within("--port", options.port, 0, _MOST_PORT)
    ready.within("--batch", options.batch, 1, _MOST_BATCH)
    ready.within("--reload-seconds", options.reload_seconds, 0, _MOST_SECONDS)
    if not 0 < options.log_rate <= 1:
        raise UsageError(f"--log-rate is {options.log_rate:g}; expected a share above 0 and at most 1.")
    ready.folder("--config", options.config)
    ready.export_there(options.output_dir, options.version, options.index)
    ready.server_installed()
    from recsys_tft.server import listening

    socket = listening.listen(options.host, options.port)
    if not listening.is_local(options.host):
        print(f"warning: others may reach {options.host}, and there is no authentication.", file=sys.stderr)
    if options.is_process:
        libraries.arrow_without_pandas()
    libraries.load("recsys_tft.server.application", options.debug)
    names = (
        "server.application", "server.exports", "server.service", "recommending.recommender", "recommending.request_log"
    )  # fmt: skip
    application, exports, service, recommender, request_log = (
        importlib.import_module(f"recsys_tft.{name}") for name in names
    )
    keywords = {name: getattr(options, name) for name in ("config", "version", "index", "redis", "when_lost")}
    log = request_log.RequestLog(options.log_requests, options.log_rate, say=_warn) if options.log_requests else None
    load = functools.partial(recommender.Recommender, options.output_dir, log=log, **keywords)
    is_pinned, keeps_events = options.version is not None, options.redis is not None
    with libraries.quietly(options.debug):
        served = exports.Exports(options.output_dir, load, is_pinned, keeps_events, _say)
    for sentence in served.current.warnings:
        _warn(sentence)
    answering = service.Service(served, options.batch)
    complain = listening.complain(options.debug)
    address = listening.address(*socket.getsockname()[:2])
    on_start = functools.partial(_say, f"Serving version {served.current.version} of {options.output_dir} at {address}")
    listening.serve(application.application(answering, options.reload_seconds, complain, on_start), socket)
    _say(f"Stopped after {answering.metrics.total:,} requests")
    if log is not None:
        log.close()
        _say(f"Logged {log.written:,} of them in {options.log_requests}, and lost {log.lost:,}")
    return 0


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr, flush=True)


def _say(text: str) -> None:
    print(text, flush=True)
