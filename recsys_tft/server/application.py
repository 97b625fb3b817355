"""The routes of the server: reading requests, and writing responses."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys_tft.errors import did_you_mean, reason
from recsys_tft.server import bodies, openapi, page
from recsys_tft.server.bodies import Refused
from recsys_tft.server.service import Service

MOST_BYTES = 1 << 20  # of a body
_READ_ON = 32 << 20  # bytes to read of a body that is too large, so that the client reads the response
_BODY_SECONDS = 20.0  # timeout of a body
_JSON = "application/json"


def application(
    service: Service,
    reload_seconds: float,
    say: Callable[[str, BaseException], None],
    begun: Callable[[], None] = lambda: None,
) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        service: answers requests.
        reload_seconds: interval of checks for a newer export; 0: never.
        say: is told of failures, with the error.
        begun: called when the server accepts requests, and signals are handled.
    """

    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(_renewing(service, reload_seconds, say))
        begun()
        yield
        task.cancel()
        await service.close()

    def path(name: str, answer: Callable[[Request], Awaitable[Response]], method: str) -> Route:
        return Route(name, answer, methods=[method])

    async def recommend(request: Request) -> Response:
        return _json(await service.recommend(await _body(request)))

    async def events(request: Request) -> Response:
        return _json(await service.observe(await _body(request)))

    async def healthz(_: Request) -> Response:
        return _json({"status": "ok", "version": service.exports.current.version})

    async def metrics(request: Request) -> Response:
        text, kind = service.metrics.text(request.headers.get("accept", ""))
        return Response(text, media_type=kind)

    async def described(_: Request) -> Response:
        return _json(openapi.describe(service.exports.current))

    async def known(_: Request) -> Response:
        return _json(page.known(service.exports))

    async def home(_: Request) -> Response:
        return Response(page.HTML, media_type="text/html", headers=page.HEADERS)

    routes = [
        path("/", home, "GET"),
        path("/recommend", recommend, "POST"),
        path("/events", events, "POST"),
        path("/known", known, "GET"),
        path("/healthz", healthz, "GET"),
        path("/metrics", metrics, "GET"),
        path("/openapi.json", described, "GET"),
    ]

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return _refusal(error)

    async def failed(_: Request, __: Exception) -> Response:
        return _refusal(Refused(500, "The server failed; its output has the reason."))

    async def wrong_path(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            taken = " or ".join(sorted({m for r in routes if r.path == request.url.path for m in r.methods or ()}))
            return _refusal(Refused(405, f"{request.url.path} takes {taken}, not {request.method}."), error.headers)
        if error.status_code == 404:
            hint = did_you_mean(request.url.path[:100], [route.path for route in routes])
            return _refusal(Refused(404, f"There is no {request.url.path[:100]}.{hint}"))
        return _refusal(Refused(error.status_code, f"{reason(Exception(error.detail))}."), error.headers)

    starlette = Starlette(
        routes=routes,
        lifespan=running,
        exception_handlers={Refused: refused, HTTPException: wrong_path, Exception: failed},
    )
    return _Measured(starlette, service, {route.path for route in routes}, say)


async def _renewing(service: Service, seconds: float, say: Callable[[str, BaseException], None]) -> None:
    while seconds:
        await asyncio.sleep(seconds)
        try:
            await service.renew()
        except Exception as error:  # a defect; serving continues
            say("a newer export was not loaded", error)


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a request.

    Other content types are refused: browsers send them from any site without a preflight request.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise Refused(415, f"The content type is {kind[:100] or 'not given'}; expected {_JSON}.")
    parts, size = [], 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size <= MOST_BYTES:
                    parts.append(part)
                elif size > _READ_ON:
                    break
    except TimeoutError:
        raise Refused(408, f"The body did not arrive within {_BODY_SECONDS:.0f} seconds.") from None
    if size > MOST_BYTES:
        raise Refused(413, f"The body is larger than {MOST_BYTES >> 20} MiB; send less at once.")
    return bodies.parsed(b"".join(parts))


def _json(found: Any, status: int = 200, headers: Any = None) -> Response:
    text = json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode(errors="replace"), status, headers, media_type=_JSON)


def _refusal(refused: Refused, headers: Any = None) -> Response:
    waits = {"Retry-After": "1"} if refused.status == 503 else {}
    return _json({"error": str(refused), **refused.more}, refused.status, {**waits, **(headers or {})})


class _Measured:
    """Counts requests and their seconds; failures of the application are reported, and answered by a sentence."""

    def __init__(
        self, application: ASGIApp, service: Service, paths: set[str], say: Callable[[str, BaseException], None]
    ):
        self._application, self._metrics, self._paths, self._say = application, service.metrics, paths, say

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        path = scope["path"] if scope["path"] in self._paths else "other"
        try:
            await self._application(scope, receive, sent)
        except ClientDisconnect:
            status = 499  # by convention: the client closed the connection
        except Exception as error:  # a defect; Starlette has sent its own answer
            self._say(f"{scope['method']} {path} failed", error)
        self._metrics.answered(path, status, time.perf_counter() - begun)
