"""The token: where it comes from, and a box that never shows it."""

import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from stackwatch.errors import DeliveryUnauthorizedError
from stackwatch.model.acquisition import show_path

VARIABLE: Final = "STACKWATCH_WEBKNOSSOS_TOKEN"
CREDENTIAL: Final = "webknossos-token"
"""Name of the systemd credential: `LoadCredential=webknossos-token:…`."""
_LONGEST: Final = 4096


class Token:
    """A secret that no log line, error or `repr` shows.

    Parameters
    ----------
    value : str
    source : str
        Where it was found, for people: a path, or the name of a variable.
    """

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str = "the caller") -> None:
        self._value = _checked(value, source)
        self.source = source

    def __repr__(self) -> str:
        return f"Token(from {self.source})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a token is never written anywhere")

    def header(self) -> dict[str, str]:
        """Return the one header that carries it."""
        return {"X-Auth-Token": self._value}

    def mask(self, text: str) -> str:
        """Return a text of somebody else without the token, should it stand there."""
        return text.replace(self._value, "…")


def find_token(token_file: str = "", environ: Mapping[str, str] | None = None) -> Token:
    """Return the token of the first place that has one: file, systemd credential, environment.

    Parameters
    ----------
    token_file : str
        `[webknossos] token_file` or `--token-file`; empty: not set.
    environ : mapping or None
        The environment; None takes the process's own.

    Raises
    ------
    DeliveryUnauthorizedError
        There is none, or everybody on this machine can read its file; the caller pauses uploads.
    """
    surroundings = os.environ if environ is None else environ
    if token_file:
        return _read_token(Path(token_file))
    folder = surroundings.get("CREDENTIALS_DIRECTORY")
    if folder and (Path(folder) / CREDENTIAL).exists():
        return _read_token(Path(folder) / CREDENTIAL)
    if surroundings.get(VARIABLE):
        return Token(surroundings[VARIABLE], VARIABLE)
    hint = (
        "Set `token_file` under `[webknossos]`, give --token-file, or set "
        f"{VARIABLE}; the token stands on your account's page in WEBKNOSSOS, under “Auth Token”."
    )
    raise DeliveryUnauthorizedError(
        f"No token for WEBKNOSSOS was found, so that nothing can be uploaded. {hint}", hint=hint
    )


def _read_token(path: Path) -> Token:
    shown = show_path(path)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_LONGEST + 1)
    except OSError as error:
        raise DeliveryUnauthorizedError(
            f"The token's file “{shown}” cannot be read ({error.strerror}). Nothing is uploaded "
            "until it can.",
            hint=f"Look at “{shown}”: is it there, and may this user read it?",
            path=shown,
        ) from error
    if mode & stat.S_IROTH:
        hint = f"chmod 600 {shlex.quote(shown)}"
        raise DeliveryUnauthorizedError(
            f"Every user of this machine can read the token's file “{shown}” (mode {mode:03o}), so "
            f"it is not used. Take the right away (`{hint}`), and better have a new token made.",
            hint=hint,
            path=shown,
        )
    return Token(data.decode("utf-8", "replace"), f"“{shown}”")


def _checked(value: str, source: str) -> str:
    """Return the token without the line's end; what cannot stand in a header is refused."""
    token = value.strip()
    is_word = token.isascii() and token.isprintable() and " " not in token
    if token and len(token) <= _LONGEST and is_word:
        return token
    raise DeliveryUnauthorizedError(
        f"What was found in {source} is no token: it must be one word of plain letters, digits "
        "and signs. It is not shown here.",
        hint="Copy the token from your account's page in WEBKNOSSOS once more.",
    )
