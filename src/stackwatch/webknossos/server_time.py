"""The server's time: what it says of a dataset's age is compared with it."""

from typing import Final

from stackwatch.webknossos.connection import Connection
from stackwatch.webknossos.transport import Request

_UNKNOWN_CLOCK_SLACK_S: Final = 600


def server_ms(connection: Connection) -> int:
    """Return the server's time, Unix milliseconds; ours, and some slack, if it tells none."""
    request = Request("GET", connection.api_url("user"))
    told = connection.demand(request, "take the token").server_time
    own = connection.waiting.clock.now() - _UNKNOWN_CLOCK_SLACK_S
    return int(1000 * (own if told is None else told))
