"""Small pieces of which every page is made: states, times, tables, facts, errors, pages of rows."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from stackwatch.model.wording import format_age, format_bytes, format_time
from stackwatch.web.markup import NOTHING, Markup, Piece, markup, tag

_MOODS: Final[dict[str, str]] = {
    **dict.fromkeys(("healthy", "published", "succeeded", "delivered", "running", "done"), "good"),
    **dict.fromkeys(("settling", "queued", "converting", "claimed", "publishing", "due"), "busy"),
    **dict.fromkeys(("polling", "incomplete", "waiting", "paused", "refused"), "wait"),
    **dict.fromkeys(("unavailable", "parked", "failed", "no daemon", "degraded"), "bad"),
}
"""How each state is meant; a state that is not here is of the past."""

_WORDS: Final = {"claimed": "converting"}
_PLAIN: Final = frozenset({"Acquisition", "Files", "Folder", "Note", "Size", "State"})
"""Headings whose values need none on a narrow screen, where there is no head of the table."""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a page that can be replaced by itself while the page is open.

    Attributes
    ----------
    name : str
        Its id in the page.
    heading : str
        Empty: none is shown.
    body : Markup
        Empty: the section is hidden.
    count : int or None
        Shown beside the heading.
    """

    name: str
    heading: str = ""
    body: Markup = NOTHING
    count: int | None = None

    def render(self) -> Markup:
        """Return the section's markup."""
        if not self.body:
            return tag("section", id=self.name, hidden=True)
        count = tag("span", f"{self.count:,}", class_="count") if self.count is not None else None
        heading = tag("h2", self.heading, " ", count, id=f"{self.name}-heading")
        labelled = f"{self.name}-heading" if self.heading else None
        return tag(
            "section", heading if self.heading else None, self.body,
            id=self.name, aria_labelledby=labelled,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its title and its sections.

    Attributes
    ----------
    title : str
    sections : tuple of Section
    is_live : bool
        Whether it changes by itself while it is open.
    trail : tuple of (str, str)
        Text and path of the pages above it.
    """

    title: str
    sections: tuple[Section, ...]
    is_live: bool = True
    trail: tuple[tuple[str, str], ...] = ()


def badge(state: str, mood: str = "") -> Markup:
    """Return a state as a coloured word."""
    mood = mood or _MOODS.get(state, "past")
    return tag("span", _WORDS.get(state, state), class_=f"badge {mood}")


def moment(at_us: int | None, now_us: int) -> Piece:
    """Return how long ago something was, with the exact time for those who point at it."""
    if at_us is None:
        return "–"
    utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_us / 1e6))
    is_ahead = at_us > now_us + 1_000_000
    text = format_time(at_us) if is_ahead else format_age(at_us, now_us)
    return tag("time", text, datetime=utc, title=format_time(at_us))


def size(count: int | None) -> str:
    """Return a number of bytes in the unit that fits."""
    return "–" if count is None else format_bytes(count)


def plural(count: int, word: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> plural(1, "file"), plural(1200, "slice")
    ('1 file', '1,200 slices')
    """
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[Piece]]) -> Markup:
    """Return a table that becomes a list of cards on a narrow screen; empty without rows.

    Parameters
    ----------
    caption : str
        For those who do not see the page.
    headings : sequence of str
    rows : iterable of sequence of Piece
        The first cell names the row.
    """
    body = [_row(headings, row) for row in rows]
    if not body:
        return NOTHING
    head = tag("tr", [tag("th", heading, scope="col") for heading in headings])
    return tag(
        "table",
        tag("caption", caption, class_="unseen"),
        tag("thead", head),
        tag("tbody", body),
    )


def _row(headings: Sequence[str], cells: Sequence[Piece]) -> Markup:
    shown = [tag("th", cells[0], scope="row")]
    for heading, cell in zip(headings[1:], cells[1:], strict=True):
        content = markup(cell)
        label = None if heading in _PLAIN else heading
        shown.append(tag("td", content, data_label=label, class_=None if content else "none"))
    return tag("tr", shown)


def facts(pairs: Iterable[tuple[str, Piece]]) -> Markup:
    """Return names with their values, leaving out those without one."""
    shown = [
        tag("div", tag("dt", name), tag("dd", content))
        for name, value in pairs
        if (content := markup(value))
    ]
    return tag("dl", shown) if shown else NOTHING


def prose(text: str) -> Markup:
    """Return a sentence in which what stands in backquotes is shown as code.

    Examples
    --------
    >>> prose("Raise `memory_gib` to < 2.")
    'Raise <code>memory_gib</code> to &lt; 2.'
    """
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return markup(text)  # an odd one out: nothing is what it looks like
    return markup([tag("code", one) if at % 2 else one for at, one in enumerate(pieces)])


def error_box(record: Mapping[str, Any], *since: Piece, resuming: Piece = None) -> Markup:
    """Return an error's message, what to do now, and its code; empty if there is none.

    Parameters
    ----------
    record : mapping
        With the keys of an error: `error_code`, `message`, `hint`.
    *since : Piece
        Shown beside the code.
    resuming : Piece
        How it goes on when the cause is mended.
    """
    if not record.get("error_code") and not record.get("message"):
        return NOTHING
    message, hint = str(record.get("message") or ""), str(record.get("hint") or "")
    shown_hint = tag("p", tag("b", "What to do: "), prose(hint), class_="hint")
    return tag(
        "div",
        tag("p", prose(message)),
        shown_hint if hint and hint not in message else None,
        tag("p", resuming) if resuming else None,
        tag("p", tag("code", record.get("error_code") or ""), " ", since, class_="dim"),
        class_="error",
    )


def more(count: int, shown: int, path: str) -> Markup:
    """Return a link to what is not shown; empty if all is."""
    if count <= shown:
        return NOTHING
    return tag("p", tag("a", f"{count - shown:,} more", href=path), class_="more")


def pager(path: str, query: Mapping[str, str], page: int, count: int, limit: int) -> Markup:
    """Return which rows are shown, and links to those before and after.

    Parameters
    ----------
    path : str
    query : mapping
        What else stands in the address.
    page : int
        From 1 on.
    count : int
        Rows in all.
    limit : int
        Rows on a page.
    """
    last = max(1, -(-count // limit))
    first_row = min((page - 1) * limit + 1, count)
    said = f"{first_row:,}–{min(page * limit, count):,} of {count:,}" if count else "nothing found"
    return tag(
        "nav",
        _page_link("Newer", path, query, page - 1, rel="prev") if page > 1 else None,
        tag("span", said),
        _page_link("Older", path, query, page + 1, rel="next") if page < last else None,
        class_="pager",
        aria_label="Pages",
    )


def _page_link(text: str, path: str, query: Mapping[str, str], page: int, rel: str) -> Markup:
    values = {key: value for key, value in query.items() if value} | {"page": str(page)}
    return tag("a", text, href=f"{path}?{urlencode(values)}", rel=rel)
