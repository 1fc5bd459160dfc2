"""What is posted: the word of somebody who signs in, and what he then does.

Deeds go through the same way as those of the command line; the page itself writes nothing.
"""

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote

from starlette.responses import HTMLResponse, RedirectResponse, Response

from stackwatch.errors import StackwatchError
from stackwatch.logs import Event, logger
from stackwatch.web.frame import render_page
from stackwatch.web.markup import Markup, is_safe_address, markup, tag
from stackwatch.web.parts import Page, Section, error_box
from stackwatch.web.sessions import COOKIE, LIFETIME_S, LONGEST, Session, read_word
from stackwatch.web.site import is_number

if TYPE_CHECKING:
    from starlette.requests import Request

    from stackwatch.web.site import Site

BODY_MAX: Final = 8192
DEEDS: Final = ("retry", "redeliver", "accept", "forget")
_SAID: Final = {
    "retry": "The job is queued again.",
    "redeliver": "The delivery is queued again.",
    "accept": "It is taken for complete as it is; it is queued when it has been looked at again.",
    "forget": "It is ignored until its content changes.",
}
Form = dict[str, str]


async def read_form(request: "Request") -> Form | None:
    """Return the fields of a form, None if it is none of ours: too long, or of another kind."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return None
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_MAX:
            return None
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=20)
    except ValueError:
        return None
    return {key: values[0] for key, values in fields.items()}


def show_sign_in(
    site: "Site",
    request: "Request",
    *said: Markup,
    status: int = 200,
    form: Form | None = None,
) -> Response:
    """Return the page on which the word is typed in; `form` is what was sent before."""
    field = tag(
        "input", type="password", name="word", required=True, maxlength=LONGEST, autofocus=True,
        autocomplete="current-password", aria_describedby="word-help",
    )  # fmt: skip
    body = markup(
        said,
        tag(
            "form",
            tag("input", type="hidden", name="next", value=_next_of(form or request.query_params)),
            tag("label", "The word of this page ", field),
            tag("button", "Sign in", type="submit"),
            method="post",
            action="/sign-in",
            class_="sign",
        ),
        tag(
            "p",
            "It is the line in the file that `token_file` under [web] names.",
            id="word-help",
            class_="dim",
        ),
    )
    return _page(site, request, "Sign in", body, status)


async def sign_in(site: "Site", request: "Request") -> Response:
    """Begin a session if the word is right."""
    options = site.service.options
    form = await read_form(request)
    if form is None or not options.has_actions or options.token_file is None:
        return _refused(site, request, "Nobody can sign in here.", 403)
    if not site.sessions.is_open():
        said = tag("p", "Too many wrong words. Try again in a minute.", class_="error")
        return show_sign_in(site, request, said, status=429, form=form)
    path = options.token_file
    try:
        expected = await site.aside.run(lambda: read_word(path))
    except StackwatchError as error:
        logger().error(
            Event.PAGE_REFUSED, error_code=error.code, message=error.message, hint=error.hint
        )
        said = error_box(error.as_record())
        return show_sign_in(site, request, said, status=409, form=form)
    session = site.sessions.begin(form.get("word", ""), expected)
    if session is None:
        logger().warning(Event.PAGE_REFUSED, reason="a wrong word was typed in on the page")
        said = tag("p", "That is not the word.", class_="error")
        return show_sign_in(site, request, said, status=403, form=form)
    answer = RedirectResponse(_next_of(form), 303)
    answer.set_cookie(
        COOKIE, session.name, max_age=int(LIFETIME_S), path="/", httponly=True, samesite="strict"
    )
    return answer


async def sign_out(site: "Site", request: "Request") -> Response:
    """End a session."""
    session = site.session_of(request)
    form = await read_form(request)
    if session is None or form is None or not session.is_own_form(form.get("form_word", "")):
        return _refused(site, request, "You are not signed in.", 403)
    site.sessions.end(session)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


async def act(site: "Site", request: "Request", deed: str) -> Response:
    """Retry, redeliver, accept or forget, and go back to where it was asked for."""
    session = site.session_of(request)
    form = await read_form(request)
    if session is None or form is None or not session.is_own_form(form.get("form_word", "")):
        return _refused(site, request, "Sign in first; then try again.", 403)
    command = _command(site, deed, form.get("number", ""))
    if command is None:
        return _refused(site, request, "There is no such thing any more.", 404)
    try:
        await site.aside.run(lambda: site.service.ask(command))
    except StackwatchError as error:
        return _page(site, request, "Not done", error_box(error.as_record()), 409)
    logger().info(Event.CONTROL_ANSWERED, reason=f"{deed} asked for on the page")
    session.said = _SAID[deed]
    return RedirectResponse(_next_of(form), 303)


def _command(site: "Site", deed: str, number: str) -> dict[str, Any] | None:
    """Return what the main thread is asked, None if it is about nothing that there is."""
    if deed not in DEEDS or not is_number(number):
        return None
    if deed == "retry":
        return {"command": "retry", "job": int(number)}
    if deed == "redeliver":
        return {"command": "retry", "delivery": int(number)}
    found = site.browser.find_acquisition(int(number))
    return None if found is None else {"command": deed, "path": str(found.path)}


def _next_of(fields: Any) -> str:  # a form or a query: both have `get`
    """Return where to go afterwards: a page of ours, whatever was asked for."""
    wanted = str(fields.get("next") or "/")
    is_ours = wanted.startswith("/") and is_safe_address(wanted) and "\\" not in wanted
    return quote(wanted, safe="/") if is_ours else "/"


def _refused(site: "Site", request: "Request", text: str, status: int) -> Response:
    return _page(site, request, "Not done", tag("p", text), status)


def _page(
    site: "Site", request: "Request", title: str, body: Markup, status: int = 200
) -> Response:
    session: Session | None = site.session_of(request)
    page = Page(title, (Section("answer", title, body),), is_live=False)
    text = render_page(site.view(session), page, request.url.path)
    return HTMLResponse(text.encode("utf-8", "backslashreplace"), status)
