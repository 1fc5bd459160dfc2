"""The routes: which address is answered by what."""

import sqlite3
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from stackwatch.errors import StackwatchError
from stackwatch.model.preview import PREVIEWS_FOLDER, preview_path
from stackwatch.web import answers, forms
from stackwatch.web.files import serve_file
from stackwatch.web.frame import STATIC, read_static, render_page
from stackwatch.web.guard import App, Guard
from stackwatch.web.live import PageOptions
from stackwatch.web.site import Site, build_live_page, is_number
from stackwatch.web.stream import STREAMS_MAX
from stackwatch.web.threads import Busy
from stackwatch.web.viewer import build_viewer_page, read_properties

Endpoint = Callable[[Request], Awaitable[Response]]
FOREVER = "public, max-age=31536000, immutable"


def build_app(site: Site) -> App:
    """Return the application, guarded."""
    routes = [
        Route("/", _page(site)),
        Route("/history", _page(site)),
        Route("/acquisitions", _page(site)),
        Route("/jobs/{number}", _page(site)),
        Route("/acquisitions/{number}", _page(site)),
        Route("/datasets/{number}/view", _reading(site, _show_viewer)),
        Route("/live", _reading(site, _follow)),
        Route("/static/{mark}/{name}", _static),
        Route("/previews/{name}", _reading(site, _preview)),
        Route("/data/{number}/{inside:path}", _reading(site, _data)),
        Route("/viewer/{inside:path}", _reading(site, _viewer)),
        Route("/healthz", _asking(answers.answer_health, site)),
        Route("/metrics", _asking(answers.answer_metrics, site)),
        Route("/api/status", _asking(answers.answer_status, site)),
        Route("/api/jobs", _reading(site, _api_jobs)),
        Route("/api/jobs/{number}", _reading(site, _api_job)),
        Route("/api/deliveries", _reading(site, _api_deliveries)),
        Route("/api/explain", _reading(site, answers.answer_explain)),
        Route("/sign-in", _reading(site, _sign_in), methods=["GET", "POST"]),
        Route("/sign-out", _reading(site, forms.sign_out), methods=["POST"]),
        Route("/actions/{deed}", _reading(site, _act), methods=["POST"]),
    ]
    starlette = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: _refused,
            Busy: _busy,
            StackwatchError: _unreadable(site),
            sqlite3.Error: _unreadable(site),
        },
    )

    starlette.router.redirect_slashes = False

    def read_options() -> PageOptions:
        return site.service.options

    return Guard(starlette, read_options)


# ---------------------------------------------------------------- kinds of answers


def _reading(site: Site, answer: Callable[[Site, Request], Awaitable[Response]]) -> Endpoint:
    """Return an endpoint that knows the site."""

    @wraps(answer)
    async def endpoint(request: Request) -> Response:
        return await answer(site, request)

    return endpoint


def _asking(answer: Callable[[Site], Response], site: Site) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return answer(site)

    return endpoint


def _page(site: Site) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        session = site.session_of(request)
        text = site.render(request.url.path, request.query_params, session)
        if text is None:
            raise HTTPException(404)
        return HTMLResponse(text.encode("utf-8", "backslashreplace"))

    return endpoint


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: "There is nothing here.", 405: "That is not how this address is asked."}
    text = f"{said.get(error.status_code, error.detail)}\n"
    return PlainTextResponse(text, error.status_code, headers=error.headers)


async def _busy(request: Request, error: Exception) -> Response:
    text = "Too much is asked for at once, or a disk does not answer. Come again in a moment.\n"
    return PlainTextResponse(text, 503, headers={"retry-after": "5"})


def _unreadable(site: Site) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        text = site.give_up(error)
        return PlainTextResponse(f"{text}\n", 503, headers={"retry-after": "5"})

    return answer


# ---------------------------------------------------------------- answers


async def _follow(site: Site, request: Request) -> Response:
    path, session = request.query_params.get("page", "/"), site.session_of(request)
    if site.streams.count >= STREAMS_MAX:
        raise Busy
    if build_live_page(site.view(session), path) is None:
        raise HTTPException(404)
    if request.method == "HEAD":  # its answer has no body, so nobody would ever end the stream
        return Response(media_type="text/event-stream")
    lines = site.streams.follow(path, session)
    return StreamingResponse(lines, media_type="text/event-stream")


async def _static(request: Request) -> Response:
    name: str = request.path_params["name"]
    if name not in STATIC:
        raise HTTPException(404)
    headers = {"content-type": STATIC[name], "cache-control": FOREVER}
    return Response(read_static(name), headers=headers)


async def _preview(site: Site, request: Request) -> Response:
    run_id, dot, kind = request.path_params["name"].partition(".")
    state_dir = site.service.options.state_dir
    path = preview_path(state_dir, run_id) if f"{dot}{kind}" == ".png" else None
    if path is None:
        raise HTTPException(404)
    return await serve_file(request, site.reading, state_dir / PREVIEWS_FOLDER, path.name, 3600)


async def _data(site: Site, request: Request) -> Response:
    """Serve a file of a published dataset: what the viewer reads."""
    number: str = request.path_params["number"]
    dataset = site.browser.find_dataset(int(number)) if is_number(number) else None
    if dataset is None:
        raise HTTPException(404)
    inside: str = request.path_params["inside"]
    return await serve_file(request, site.data, dataset.path, inside, 300, is_data=True)


async def _viewer(site: Site, request: Request) -> Response:
    root = site.service.options.viewer
    if root is None:
        raise HTTPException(404)
    inside = request.path_params["inside"] or "index.html"
    return await serve_file(request, site.reading, root.resolve(), inside)


async def _show_viewer(site: Site, request: Request) -> Response:
    number: str = request.path_params["number"]
    dataset = site.browser.find_dataset(int(number)) if is_number(number) else None
    if dataset is None or site.service.options.viewer is None:
        raise HTTPException(404)
    # a web server in front of us that speaks TLS says so; only the asker's own view hangs on it
    is_tls = request.headers.get("x-forwarded-proto", "").lower() == "https"
    scheme = "https" if is_tls else request.url.scheme
    origin = f"{scheme}://{request.headers['host']}"
    place = dataset.path
    properties = await site.data.run(lambda: read_properties(place))
    page = build_viewer_page(origin, dataset, properties)
    text = render_page(site.view(site.session_of(request)), page, request.url.path)
    return HTMLResponse(text.encode("utf-8", "backslashreplace"))


async def _api_jobs(site: Site, request: Request) -> Response:
    return answers.answer_jobs(site, request.query_params)


async def _api_deliveries(site: Site, request: Request) -> Response:
    return answers.answer_deliveries(site, request.query_params)


async def _api_job(site: Site, request: Request) -> Response:
    number: Any = request.path_params["number"]
    if not is_number(number):
        raise HTTPException(404)
    return answers.answer_job(site, int(number), request.query_params)


async def _sign_in(site: Site, request: Request) -> Response:
    if request.method == "POST":
        return await forms.sign_in(site, request)
    if not site.service.options.has_actions:
        raise HTTPException(404)
    if site.session_of(request) is not None:
        return RedirectResponse("/", 303)
    return forms.show_sign_in(site, request)


async def _act(site: Site, request: Request) -> Response:
    deed: str = request.path_params["deed"]
    if deed not in forms.DEEDS or not site.service.options.has_actions:
        raise HTTPException(404)
    return await forms.act(site, request, deed)
