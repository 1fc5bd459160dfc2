"""Where in a TOML file a mistake is: line and column, which the parser tells only of its own."""

import re
import tomllib
from typing import Any, Final

_LONGEST_VALUE_LINES: Final = 100
_MOST_CANDIDATES: Final = 50


def describe_syntax(error: ValueError, text: str) -> str:
    r"""Return a sentence about what is no TOML, line and column first.

    Parameters
    ----------
    error : ValueError
        As `tomllib.loads` raised it for `text`.
    text : str

    Examples
    --------
    >>> try:
    ...     _ = tomllib.loads("a = 1\nb = = 2\n")
    ... except tomllib.TOMLDecodeError as error:
    ...     describe_syntax(error, "a = 1\nb = = 2\n")
    'line 2, column 5: Invalid value'
    """
    found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
    if found:
        what, line, column = found.groups()
    else:  # the parser says “at end of document”
        what = str(error).split(" (at ")[0]
        lines = text.split("\n")
        line, column = str(len(lines)), str(len(lines[-1]) + 1)
    return f"line {line}, column {column}: {what}"


def describe_undecodable(error: UnicodeDecodeError) -> str:
    """Return a sentence about a byte that is no UTF-8, line and column first."""
    line = error.object.count(b"\n", 0, error.start) + 1
    column = error.start - error.object.rfind(b"\n", 0, error.start)
    return f"line {line}, column {column}: not UTF-8 (byte 0x{error.object[error.start]:02x})"


def line_of(text: str, path: tuple[str | int, ...]) -> int | None:
    r"""Return the number of the line at which a key is first given a value.

    Found by asking the parser: the key is in what stands up to the end of its statement, and not in
    what stands before.

    Parameters
    ----------
    text : str
        A whole TOML document without syntax errors.
    path : tuple of str or int
        Keys, and places in arrays of tables: `("layer", 1, "name")`.

    Returns
    -------
    int or None
        Counted from 1; None where the key is written in escapes, or there are too many like it.

    Examples
    --------
    >>> line_of("a = 1\n[[layer]]\nname = 'x'\n[[layer]]\nname = 'y'\n", ("layer", 1, "name"))
    5
    """
    lines = text.split("\n")
    word = next(part for part in reversed(path) if isinstance(part, str))
    candidates = [at for at, line in enumerate(lines) if word in line]
    for start in candidates[:_MOST_CANDIDATES]:
        if _holds(lines[:start], path) is not False:
            continue  # inside a value that goes over several lines
        for end in range(start + 1, min(start + _LONGEST_VALUE_LINES, len(lines)) + 1):
            is_held = _holds(lines[:end], path)
            if is_held:
                return start + 1
            if is_held is False:
                break
    return None


def _holds(lines: list[str], path: tuple[str | int, ...]) -> bool | None:
    """Tell whether some lines give a key a value; None if they are no whole document."""
    try:
        at: Any = tomllib.loads("\n".join(lines))  # a document is anything
    except ValueError:
        return None
    for part in path:
        try:
            at = at[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True
