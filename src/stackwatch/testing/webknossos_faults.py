"""What the stand-in for WEBKNOSSOS can be told to do wrong, and how it may differ from others."""

import threading
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from stackwatch.testing.webknossos_http import Request

UPLOAD_LASTS_S: Final = 14 * 86_400
ACCESS_LASTS_S: Final = 120


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with requests to one route.

    Attributes
    ----------
    route : str
        Name of a route as in the routes' tables: `reserve`, `chunk`, `test_chunk`, `finish`,
        `cancel`, `unfinished`, `buildinfo`, `user`, `list_datasets`, `dataset`, …; `*`: any.
    status : int
        Answered instead of the truth: HTML of a proxy for 413 and 5xx, JSON for 400, plain text
        for 401 and 403. 0: the truth.
    is_done : bool
        The work is done all the same: only its answer is lost.
    skip, times : int
        How many requests pass before, and how many are hit then; -1: all.
    contains : str
        Only requests whose path with query holds this; a chunk adds `<identifier>#<number>`.
    reset : str
        `body`: the connection breaks in the middle of the request's body, nothing is done;
        `answer`: the work is done and the connection breaks instead of an answer.
    delay_s : float
        Waited before the answer, after the work if that is done. With `status` 0 it is.
    is_unwritten : bool
        For chunks: counted as present, its bytes never written.
    text : str
        Body of the answer with `status`.
    """

    route: str
    status: int = 0
    is_done: bool = False
    skip: int = 0
    times: int = 1
    contains: str = ""
    reset: Literal["", "body", "answer"] = ""
    delay_s: float = 0.0
    is_unwritten: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Which WEBKNOSSOS this is.

    Attributes
    ----------
    oldest_version, newest_version : int
        Of the API, as the build info says and the routes obey.
    datastore_newest_version : int
        0: the same; another one is a datastore that lags behind.
    are_name_errors_listed : bool
        `errors` of a refused name is a list instead of a text.
    has_closed_datastore : bool
        The first datastore in the list allows no uploads.
    can_delete : bool
        Deleting datasets, and cancelling uploads, is enabled.
    quota_bytes : int
        Of the organization; 0: none.
    max_body_bytes : int
        A larger request is answered 413 by the proxy; 0: none is.
    upload_lasts_s : float
        An upload that lies idle for longer is forgotten.
    finish_s : float
        How long the work of finishing takes, whoever still waits for it.
    does_second_finish_delete : bool
        A second finish while the first works makes the dataset vanish.
    access_lasts_s : float
        How long the datastore remembers what a token may do.
    can_explore : bool
        Remote datasets can be read.
    local_whitelist : tuple of str
        Folders below which `file://` may be registered.
    remote_places : tuple of (str, str)
        Beginnings of `https://` and `s3://` URLs, and the folders here that stand in for them.
    path_prefixes : tuple of str
        Where uploads by path may go; empty: a folder of the server's own. Without any at all,
        `has_paths` is false.
    has_paths : bool
        The datastore supports uploads by path.
    are_paths_uris : bool
        Reserved paths are told as `file://`.
    """

    oldest_version: int = 10
    newest_version: int = 16
    datastore_newest_version: int = 0
    are_name_errors_listed: bool = False
    has_closed_datastore: bool = False
    can_delete: bool = True
    quota_bytes: int = 0
    max_body_bytes: int = 0
    upload_lasts_s: float = UPLOAD_LASTS_S
    finish_s: float = 0.0
    does_second_finish_delete: bool = True
    access_lasts_s: float = ACCESS_LASTS_S
    can_explore: bool = True
    local_whitelist: tuple[str, ...] = ()
    remote_places: tuple[tuple[str, str], ...] = ()
    path_prefixes: tuple[str, ...] = ()
    has_paths: bool = True
    are_paths_uris: bool = False


def behaviour_from(document: dict[str, Any], base: Behaviour | None = None) -> Behaviour:
    """Return a behaviour with the named attributes changed; JSON lists become tuples."""
    changed = {name: _frozen(value) for name, value in document.items()}
    unknown = changed.keys() - {field.name for field in fields(Behaviour)}
    if unknown:
        raise ValueError(f"a server has no {', '.join(sorted(unknown))}")
    return replace(base or Behaviour(), **changed)


class Faults:
    """The faults that are still to come, first one first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        """Let these happen too."""
        with self._lock:
            self._pending += faults

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        with self._lock:
            self._pending.clear()

    def pending(self) -> tuple[Fault, ...]:
        """Return what has not happened yet."""
        with self._lock:
            return tuple(self._pending)

    def take(self, route: str, target: str, *, before_body: bool) -> Fault | None:
        """Return the fault that hits this request, and count it.

        Parameters
        ----------
        route : str
        target : str
            Path and query; after the body, the chunk's identifier and number too.
        before_body : bool
            Only breaks in the middle of the body are found before, all others after it.
        """
        with self._lock:
            for place, fault in enumerate(self._pending):
                fits = fault.route in {"*", route} and fault.contains in target
                if not fits or (fault.reset == "body") != before_body:
                    continue
                if fault.skip:
                    self._pending[place] = replace(fault, skip=fault.skip - 1)
                    continue
                if fault.times > 1:
                    self._pending[place] = replace(fault, times=fault.times - 1)
                elif fault.times == 1:
                    del self._pending[place]
                return fault
        return None


def chunk_mark(request: Request) -> str:
    """Return `<identifier>#<number>` of a chunk, as far as its body says it."""
    form, _ = request.form()
    identifier = form.get("resumableIdentifier", "")
    return f" {identifier}#{form.get('resumableChunkNumber', '')}"


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value
