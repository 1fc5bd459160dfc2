"""HTML that cannot be forgotten to escape: what is not markup already is escaped when it is joined.

Names of acquisitions, error messages and links of servers are foreign text; none of them passes
into the page by a way that leads around `markup`.
"""

from collections.abc import Iterable
from html import escape
from typing import Final

_VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta"})
_ADDRESSES: Final = frozenset({"href", "src", "action", "formaction"})


class Markup(str):
    """A piece of HTML, as opposed to text."""

    __slots__ = ()


NOTHING: Final = Markup("")

Piece = str | int | float | Iterable["Piece"] | None
"""Text, markup, a number, a sequence of those, or nothing."""

Value = str | int | float | bool | None
"""Of an attribute: True is the bare attribute, False and None leave it out."""


def markup(*pieces: Piece) -> Markup:
    """Join pieces; text is escaped, markup is not.

    Examples
    --------
    >>> markup("a < b ", tag("b", "&"), None, [1, " ", "<i>"])
    'a &lt; b <b>&amp;</b>1 &lt;i&gt;'
    """
    return Markup("".join(map(_render, pieces)))


def tag(element: str, /, *children: Piece, **attributes: Value) -> Markup:
    """Return an element.

    Parameters
    ----------
    element : str
    *children : Piece
    **attributes : Value
        `class_` is `class`, and `aria_label` is `aria-label`. An address that is neither a path of
        ours nor http(s) is left out, whoever gave it.

    Examples
    --------
    >>> tag("a", "run", href="/jobs/7", class_="name", title='"x"', hidden=False)
    '<a href="/jobs/7" class="name" title="&quot;x&quot;">run</a>'
    >>> tag("a", "run", href="javascript:alert(1)")
    '<a>run</a>'
    """
    shown = "".join(
        _attribute(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if element in _VOID:
        return Markup(f"<{element}{shown}>")
    return Markup(f"<{element}{shown}>{markup(*children)}</{element}>")


def is_safe_address(address: str) -> bool:
    """Tell whether a link may lead there: a path of ours, or a page of the web."""
    if any(ord(character) < 33 for character in address):
        return False
    if address.startswith(("https://", "http://")):
        return True
    is_path = address.startswith(("/", "#", "?"))
    return is_path and not address.startswith(("//", "/\\"))


def _attribute(name: str, value: Value) -> str:
    if name in _ADDRESSES and not is_safe_address(str(value)):
        return ""
    if value is True:
        return f" {name}"
    return f' {name}="{escape(str(value))}"'


def _render(piece: Piece) -> str:
    if piece is None:
        return ""
    if isinstance(piece, Markup):
        return piece
    if isinstance(piece, str):
        return escape(piece)
    if isinstance(piece, int | float):
        return str(piece)
    return "".join(map(_render, piece))
