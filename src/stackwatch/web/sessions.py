"""Who may act: the word from `token_file`, typed in once, then a cookie that only we can make.

A session lives in memory; a restart of the service ends it. The cookie is not readable by scripts
and is not sent with requests that another site causes; each form carries a word of its session too.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stackwatch.errors import UsageError
from stackwatch.model.acquisition import show_path

COOKIE: Final = "stackwatch_session"
LIFETIME_S: Final = 12 * 3600.0
SESSIONS_MAX: Final = 100
TRIES_MAX: Final = 10
TRIES_WINDOW_S: Final = 60.0
"""So many wrong words are taken in a minute, whoever types them."""

LONGEST: Final = 1024
SHORTEST: Final = 8


@dataclass(slots=True)
class Session:
    """Somebody who has typed in the word.

    Attributes
    ----------
    name : str
        What the cookie says. Secret.
    form_word : str
        What each form of this session carries. Secret.
    until_s : float
    said : str
        What is to be told on the next page, once.
    """

    name: str
    form_word: str
    until_s: float
    said: str = ""

    def is_own_form(self, word: str) -> bool:
        """Tell whether a form was made for this session."""
        return hmac.compare_digest(self.form_word.encode(), word.encode("utf-8", "replace"))


class Sessions:
    """Everybody who may act. Used by the page's thread alone."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._sessions: dict[str, Session] = {}
        self._tries: list[float] = []

    def find(self, name: str) -> Session | None:
        """Return the session that a cookie names, None if there is none any more."""
        session = self._sessions.get(name)
        if session is None or session.until_s < self._now_s():
            self._sessions.pop(name, None)
            return None
        return session

    def is_open(self) -> bool:
        """Tell whether another word may be tried now."""
        now_s = self._now_s()
        self._tries = [at_s for at_s in self._tries if now_s - at_s < TRIES_WINDOW_S]
        return len(self._tries) < TRIES_MAX

    def begin(self, word: str, expected: str) -> Session | None:
        """Return a new session if the word is right, None if it is not.

        Parameters
        ----------
        word, expected : str
            As typed in, and as the file has it.
        """
        if not hmac.compare_digest(_digest(word.strip()), _digest(expected)):
            self._tries.append(self._now_s())
            return None
        while len(self._sessions) >= SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        session = Session(
            secrets.token_urlsafe(32), secrets.token_urlsafe(32), self._now_s() + LIFETIME_S
        )
        self._sessions[session.name] = session
        return session

    def end(self, session: Session) -> None:
        """Forget a session."""
        self._sessions.pop(session.name, None)

    def end_all(self) -> None:
        """Forget all: the word is another one, or nobody may act any more."""
        self._sessions.clear()


def read_word(path: Path) -> str:
    """Return the word that a token file holds.

    Raises
    ------
    UsageError
        It cannot be read, or holds no word of a sensible length; the caller shows it to nobody but
        the log and the person who signs in.
    """
    shown = show_path(path)
    try:
        with path.open("rb") as file:
            word = file.read(LONGEST + 1).decode("utf-8", "replace").strip()
    except OSError as error:
        raise UsageError(
            f"The file with the word for this page cannot be read: “{shown}”: {error.strerror}.",
            hint="Let the service read the file that `[web] token_file` names.",
            path=shown,
        ) from error
    if not SHORTEST <= len(word) <= LONGEST:
        raise UsageError(
            f"“{shown}” holds no word of {SHORTEST} to {LONGEST} characters: nobody can sign in.",
            hint="Write one line into it, such as what `openssl rand -hex 16` prints.",
            path=shown,
        )
    return word


def _digest(word: str) -> bytes:
    return hashlib.sha256(word.encode("utf-8", "replace")).digest()
