"""The frame of every page: head, bar, navigation, foot; and the address of style and script."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

from stackwatch import __version__
from stackwatch.model.wording import format_duration
from stackwatch.web.markup import NOTHING, Markup, markup, tag
from stackwatch.web.parts import Page, Section
from stackwatch.web.view import View

STATIC: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_PLACES: Final = (("Overview", "/"), ("Acquisitions", "/acquisitions"), ("History", "/history"))
_RELOAD_S: Final = 30
"""Without JavaScript a live page is loaded anew so often."""


@cache
def read_static(name: str) -> bytes:
    """Return a file that is part of the package."""
    return (files("stackwatch.web") / "static" / name).read_bytes()


@cache
def static_path(name: str) -> str:
    """Return its address, which changes with its content."""
    return f"/static/{hashlib.sha256(read_static(name)).hexdigest()[:12]}/{name}"


def render_page(view: View, page: Page, path: str) -> str:
    """Return a whole page as HTML."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{page.title} – stackwatch"),
        tag("link", rel="icon", href=static_path("icon.svg"), type="image/svg+xml"),
        tag("link", rel="stylesheet", href=static_path("page.css")),
        tag("script", src=static_path("page.js"), defer=True) if page.is_live else None,
        _reload() if page.is_live else None,
    )
    trail = [markup(tag("a", text, href=to), " / ") for text, to in page.trail]
    body = tag(
        "body",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        tag("header", _bar(view, path)),
        tag(
            "main",
            tag("p", trail, class_="trail") if trail else None,
            _said(view),
            tag("h1", page.title, class_=None if trail else "unseen"),
            [section.render() for section in page.sections],
            id="content",
            tabindex="-1",
        ),
        tag("footer", _foot(view, path)),
        data_live=path if page.is_live else None,
    )
    return f"<!doctype html>{tag('html', head, body, lang='en')}"


def service_section(view: View) -> Section:
    """Return the state of the service, as the bar shows it."""
    snapshot = view.snapshot
    if snapshot.is_stopping:
        mood, said = "wait", "stopping"
    elif snapshot.degraded:
        mood, said = "bad", "degraded"
    elif not snapshot.is_up:
        mood, said = "busy", "looking through the drop folders"
    else:
        mood, said = "good", f"running for {format_duration(snapshot.started_s)}"
    return Section("service", "", tag("span", said, class_=f"badge {mood}"))


def _said(view: View) -> Markup:
    """Return what came of the last deed, once."""
    if view.session is None or not view.session.said:
        return NOTHING
    said, view.session.said = view.session.said, ""
    return tag("p", said, class_="said", role="status")


def _reload() -> Markup:
    return tag("noscript", tag("meta", http_equiv="refresh", content=str(_RELOAD_S)))


def _bar(view: View, path: str) -> Markup:
    links = [
        tag("li", tag("a", text, href=to, aria_current="page" if _is_at(path, to) else None))
        for text, to in _PLACES
    ]
    return markup(
        tag("a", tag("img", src=static_path("icon.svg"), alt="", width=22, height=22),
            " stackwatch", href="/", class_="brand"),
        tag("nav", tag("ul", links), aria_label="Pages of the service"),
        service_section(view).render(),
        tag("p", "Connection lost. What you see may be old.", id="lost", role="status",
            hidden=True),
    )  # fmt: skip


def _is_at(path: str, place: str) -> bool:
    place_of = {"/jobs": "/history"}
    first = f"/{path.split('?')[0].strip('/').split('/')[0]}"
    return place_of.get(first, first) == place


def _foot(view: View, path: str) -> Markup:
    return markup(tag("p", f"stackwatch {__version__}", class_="dim"), _sign(view, path))


def _sign(view: View, path: str) -> Markup:
    if not view.options.has_actions:
        return NOTHING
    if view.session is None:
        return tag("p", tag("a", "Sign in", href=f"/sign-in?next={path.split('?')[0]}"))
    return tag(
        "form",
        tag("input", type="hidden", name="form_word", value=view.session.form_word),
        tag("button", "Sign out", type="submit"),
        method="post",
        action="/sign-out",
    )
