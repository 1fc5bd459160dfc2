"""Files below one directory, and no others: opened step by step, never through a link.

What may hang, a share that is away, is done in threads that nobody waits for.
"""

import errno
import os
import re
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stackwatch.web.threads import Busy

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from stackwatch.web.threads import Aside

PIECE: Final = 1 << 19
"""Bytes read at once."""

DEPTH_MAX: Final = 64
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}
_BYTES: Final = "application/octet-stream"
_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)
_BENEATH: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(slots=True)
class Opened:
    """A file that is open for reading; whoever opened it closes it.

    Attributes
    ----------
    descriptor : int
    size : int
    mark : str
        Changes with the file.
    """

    descriptor: int
    size: int
    mark: str

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # a share that has gone away
                os.close(descriptor)


class CutShort(Exception):  # noqa: N818 - it says what is so
    """A file became shorter, or cannot be read on: the connection ends, and the client knows."""


class OutOfRange(Exception):  # noqa: N818 - it says what is so, and becomes the answer 416
    """Nothing of the file lies in the range that was asked for."""


def split_inside(inside: str) -> tuple[str, ...] | None:
    """Return the steps of a path below a directory, None if it could lead anywhere else.

    Examples
    --------
    >>> split_inside("color/zarr.json"), split_inside("color/../../ledger.db"), split_inside("/etc")
    (('color', 'zarr.json'), None, None)
    """
    steps = tuple(inside.split("/"))
    is_odd = any(step in {"", ".", ".."} or "\0" in step for step in steps)
    return None if is_odd or len(steps) > DEPTH_MAX else steps


def open_inside(root: Path, steps: Sequence[str]) -> Opened | None:
    """Open a regular file below a directory, None if there is none.

    Parameters
    ----------
    root : Path
        What lies above it may be a link; it is none itself, and nothing below it is followed.
    steps : sequence of str
        As `split_inside` gives them.
    """
    held = -1
    try:
        held = os.open(root, _BENEATH | os.O_DIRECTORY)
        for step in steps[:-1]:
            inner = os.open(step, _BENEATH | os.O_DIRECTORY, dir_fd=held)
            os.close(held)
            held = inner
        descriptor = os.open(steps[-1], _BENEATH, dir_fd=held)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
            raise
        return None
    finally:
        if held >= 0:
            os.close(held)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        return None
    return Opened(descriptor, found.st_size, f'"{found.st_mtime_ns:x}-{found.st_size:x}"')


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return begin and end of the one range that is asked for, None for the whole file.

    What is no single range of bytes counts as not said, as the protocol wants it.

    Raises
    ------
    OutOfRange
        Nothing lies there; the caller answers 416.

    Examples
    --------
    >>> parse_range("bytes=2-3", 10), parse_range("bytes=-4", 10), parse_range("bytes=8-99", 10)
    ((2, 4), (6, 10), (8, 10))
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < begin:
            return None
    if begin >= end:
        raise OutOfRange
    return begin, end


async def serve_file(
    request: "Request",
    aside: "Aside",
    root: Path,
    inside: str,
    max_age_s: int = 0,
    *,
    is_data: bool = False,
) -> "Response":
    """Return the answer with a file below a directory, or a part of it; 404 if there is none.

    Parameters
    ----------
    request : Request
    aside : Aside
    root : Path
    inside : str
        The path below it, as the address has it.
    max_age_s : int
        How long a browser may keep it; 0: it asks each time whether it has changed.
    is_data : bool
        Others may write there: a browser is not to take anything for a page, a style or a script.
    """
    from starlette.responses import PlainTextResponse

    steps = split_inside(inside)
    opened = await aside.run(lambda: open_inside(root, steps)) if steps is not None else None
    if opened is None:
        return PlainTextResponse("There is no such file.\n", 404)
    kind = _TYPES.get(Path(inside).suffix.lower(), _BYTES)
    if is_data and kind != _TYPES[".json"]:
        kind = _BYTES
    kept = f"private, max-age={max_age_s}" if max_age_s else "no-cache"
    return _answer(request, aside, opened, {"content-type": kind, "cache-control": kept})


def _answer(
    request: "Request", aside: "Aside", opened: Opened, headers: dict[str, str]
) -> "Response":
    """Return the answer with an open file, or the part of it that is asked for."""
    from starlette.responses import Response

    asked = request.headers
    headers |= {"accept-ranges": "bytes", "etag": opened.mark}
    if asked.get("if-none-match") == opened.mark:
        opened.close()
        return Response(status_code=304, headers=headers)
    is_same = asked.get("if-range", opened.mark) == opened.mark
    try:
        part = parse_range(asked.get("range"), opened.size) if is_same else None
    except OutOfRange:
        opened.close()
        return Response(status_code=416, headers={"content-range": f"bytes */{opened.size}"})
    begin, end = part or (0, opened.size)
    headers["content-length"] = str(end - begin)
    if part is not None:
        headers["content-range"] = f"bytes {begin}-{end - 1}/{opened.size}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        opened.close()
        return Response(status_code=status, headers=headers)
    return _streamed(aside, opened, (begin, end), status, headers)


def _streamed(
    aside: "Aside", opened: Opened, part: tuple[int, int], status: int, headers: dict[str, str]
) -> "Response":
    """Return an answer that closes its file however it ends.

    Of a client that has gone away meanwhile not even the first byte is asked: what the bytes come
    from never begins, and could close nothing.
    """
    from starlette.responses import StreamingResponse

    class Streamed(StreamingResponse):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await super().__call__(scope, receive, send)
            finally:
                opened.close()

    return Streamed(_iter_pieces(aside, opened, *part), status, headers)


async def _iter_pieces(
    aside: "Aside", opened: Opened, begin: int, end: int
) -> AsyncIterator[bytes]:
    """Yield the bytes of a part of an open file; closed before the last of them is sent."""
    descriptor = opened.descriptor
    while begin < end:
        try:
            piece = await aside.run(
                lambda at=begin: os.pread(descriptor, min(PIECE, end - at), at)  # type: ignore[misc]
            )
        except (Busy, OSError) as error:
            raise CutShort from error
        begin += len(piece)
        if not piece:
            raise CutShort
        if begin >= end:
            opened.close()
        yield piece
