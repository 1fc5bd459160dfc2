"""Let something that may block be done beside the page's event loop.

Files on shares may hang for ever. The threads here are not waited for at the end of the process,
as those of asyncio's own pool would be.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

THREADS_MAX: Final = 16
WAIT_S: Final = 10.0
"""So long somebody waits for a thread: browsers ask for much at once, and most is done quickly."""


class Busy(Exception):  # noqa: N818 - it says what is so, and becomes the answer 503
    """All threads are taken: something hangs, or very much is asked for."""


class Aside:
    """Runs functions in threads of their own, at most `THREADS_MAX` at a time."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(THREADS_MAX)

    async def run(self, work: Callable[[], T]) -> T:
        """Return what the function returns, or raise what it raises.

        Raises
        ------
        Busy
            There are too many of them for too long; the caller answers that the client may come
            again.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            raise Busy from None
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def conclude(result: T | None, error: BaseException | None) -> None:
            self._free.release()
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # T, where there is no error

        def act() -> None:
            result, error = None, None
            try:
                result = work()
            except BaseException as caught:  # noqa: BLE001 - raised again in the loop
                error = caught
            try:
                loop.call_soon_threadsafe(conclude, result, error)
            except RuntimeError:
                return  # the loop has ended meanwhile: nobody waits any more

        try:
            threading.Thread(target=act, name="page-aside", daemon=True).start()
        except RuntimeError:  # the system gives no more threads
            self._free.release()
            raise Busy from None
        return await future
