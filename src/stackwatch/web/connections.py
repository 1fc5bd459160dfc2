"""A connection of the page: who says nothing, or says it too slowly, does not keep his place.

The library waits for ever for a first request, for the rest of one that was begun, and for a client
that does not take its answer; and it refuses everybody as long as there are too many connections.
A browser that opens some in advance, or a program that forgets its own, would so close the page for
all others.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S: Final = 10
"""So long a whole request may take, and so long a connection waits for its next one."""


class Connection(H11Protocol):
    """One connection. Those that wait for a request give way to new ones, the longest silent first.

    Only connections under way count against the limit, therefore: one more than those is refused.
    """

    _deadline: asyncio.TimerHandle | None = None
    _heard_s = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether the client's turn is now: no request of his is whole and unanswered."""
        cycle: Any = self.cycle  # None before the first, which the library's types do not say
        return cycle is None or cycle.response_complete or cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection in, and make room for it."""
        self._heard_s = self.loop.time()
        self._make_room()
        super().connection_made(transport)
        self._watch_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        self._forget_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; what comes drop by drop has no longer for it."""
        self._heard_s = self.loop.time()
        super().data_received(data)
        if self.is_waiting:
            self._watch_request()
        else:
            self._forget_deadline()

    def on_response_complete(self) -> None:
        """Wait for the next request: the library's own time begins."""
        self._heard_s = self.loop.time()
        super().on_response_complete()

    def _watch_request(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_S, self._end)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _make_room(self) -> None:
        """End the connections that have been silent for longest, as many as are too many."""
        others: set[Any] = self.connections
        while self.limit_concurrency and len(others) >= self.limit_concurrency - 1:
            waiting = [one for one in others if one.is_waiting]
            if not waiting:
                return
            min(waiting, key=lambda one: one._heard_s)._end()

    def _end(self) -> None:
        self.connections.discard(self)  # now, not when the loop comes to it
        self.transport.close()
