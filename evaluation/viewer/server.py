"""The web server of the review page: reads an index, writes nothing but reviews.

It listens on 127.0.0.1 alone. What else on this machine or in the browser could reach it is kept
out: another site by the Host header (DNS rebinding) and the Origin of what it posts, text in a log
by a Content-Security-Policy under which nothing but our own files can run. No request names a path:
logs go by their keys.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groupwise.evaluation.log.jsonl import clean
from groupwise.evaluation.viewer.filters import BadRequestError, Filter
from groupwise.evaluation.viewer.index import Index
from groupwise.evaluation.viewer.overview import Overview
from groupwise.evaluation.viewer.queries import Queries
from groupwise.evaluation.viewer.reviews import append_review, checked, digest
from groupwise.rewards.errors import UserError

STATIC = Path(__file__).with_name("static")
HOSTS = ("127.0.0.1", "localhost")
MOST_BODY_BYTES = 65_536
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
        "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses requests that were not meant for this server, and puts the headers on all answers."""

    def __init__(self, app: ASGIApp, port: int | None) -> None:
        self.app = app
        self.hosts = {f"{host}:{port}" for host in HOSTS} if port else set(HOSTS)
        self.any_port = port is None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no web sockets
        headers = Headers(scope=scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    answer[name] = value
            await send(message)

        refusal = self._refusal(scope["method"], headers)
        app: ASGIApp = Response(refusal, 403, media_type="text/plain") if refusal else self.app
        await app(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> str:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return "this server answers to 127.0.0.1 and localhost only"
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "requests from other sites are refused"
        origin = headers.get("origin")
        if method not in ("GET", "HEAD") and origin is not None and origin != f"http://{host}":
            return "requests from other sites are refused"
        return ""

    def _is_ours(self, host: str) -> bool:
        return (host.partition(":")[0] if self.any_port else host) in self.hosts


def make_app(index: Index, port: int | None = None) -> ASGIApp:
    """The application; with `port`, only that port is accepted in the Host header."""
    queries, overview = Queries(index), Overview(index)

    def problems(query: Mapping[str, str]) -> dict[str, Any]:
        return queries.problems(
            _keys(query), Filter.from_query(query), _whole(query, "offset", 0),
            _whole(query, "limit", 50),
        )  # fmt: skip

    def problem(query: Mapping[str, str]) -> dict[str, Any]:
        return queries.problem(_keys(query), _text(query, "id"), _whole(query, "first", 0))

    def queue(query: Mapping[str, str]) -> dict[str, Any]:
        return queries.queue(
            _keys(query), query.get("part", ""), _real(query, "threshold", 0.5),
            query.get("kind", "marks"),
        )  # fmt: skip

    answers: dict[str, Callable[[Mapping[str, str]], Any]] = {
        "status": lambda _: index.status(),
        "overview": lambda _: overview.to_json(),
        "categories": lambda _: queries.categories(),
        "problems": problems,
        "problem": problem,
        "sample": lambda q: queries.sample(_text(q, "log"), _whole(q, "line", 0)),
        "steps": lambda q: queries.steps(_text(q, "log")),
        "step": lambda q: queries.step(_text(q, "log"), _whole(q, "step", 0)),
        "trajectory": lambda q: queries.trajectory(_text(q, "log"), _text(q, "id")),
        "queue": queue,
    }
    routes: list[BaseRoute] = [
        Route(f"/api/{name}", _answering(answer)) for name, answer in answers.items()
    ]
    routes.append(Route("/api/review", _reviewing(index, queries), methods=["POST"]))
    routes.append(Route("/", lambda _: FileResponse(STATIC / "index.html")))
    routes.append(Mount("/static", StaticFiles(directory=STATIC)))
    return Guard(Starlette(routes=routes), port)


def _answering(answer: Callable[[Mapping[str, str]], Any]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        query = _Query(request)
        try:
            return _json(await run_in_threadpool(answer, query))
        except BadRequestError as error:
            return _json({"error": str(error)}, 400)

    return endpoint


def _reviewing(index: Index, queries: Queries) -> Callable[[Request], Any]:
    def write(data: Any) -> dict[str, Any]:
        review = checked(data)
        state = queries.log(str(data.get("key", "")))
        sample = queries.sample(state.found.key, int(data.get("line", -1)))
        about = (sample.get("example_id"), sample.get("sample_index"), sample.get("step"))
        if about != review.sample:
            raise BadRequestError("the log has changed since this page was loaded: reload it")
        review = dataclasses.replace(review, digest=digest(sample["completion"]))
        append_review(state.found.path, review)
        index.read_marks(state)
        return {"mark": review.mark, "note": review.note, "other_answer": False}

    async def endpoint(request: Request) -> Response:
        # A form of another site cannot send this type without asking first, and is not let.
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _json({"error": "a review is sent as application/json"}, 415)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MOST_BODY_BYTES:
                return _json({"error": "too long"}, 413)
        try:
            return _json(await run_in_threadpool(write, json.loads(body)))
        except (ValueError, TypeError, RecursionError, UserError) as error:
            return _json({"error": str(error)}, 400)

    return endpoint


class _Query(dict[str, str]):
    """The parameters of a URL; `log` may be given more than once (`logs`)."""

    def __init__(self, request: Request) -> None:
        super().__init__(request.query_params)
        self.logs = request.query_params.getlist("log")


def _keys(query: Mapping[str, str]) -> list[str]:
    return list(query.logs)[:32] if isinstance(query, _Query) else []


def _text(query: Mapping[str, str], name: str) -> str:
    if name not in query:
        raise BadRequestError(f"{name} is missing")
    return query[name]


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    try:
        value = int(query.get(name, default))
    except ValueError:
        raise BadRequestError(f"{name}: {query[name]!r} is not a whole number") from None
    if not abs(value) < 2**31:
        raise BadRequestError(f"{name}: {value} is too large")
    return value


def _real(query: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(query.get(name, default))
    except ValueError:
        raise BadRequestError(f"{name}: {query[name]!r} is not a number") from None


def _json(value: Any, status: int = 200) -> Response:
    text = json.dumps(clean(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode("utf-8"), status, media_type="application/json")
