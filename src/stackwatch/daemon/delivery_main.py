"""The delivery process: brings one dataset to WEBKNOSSOS and reports to the daemon over a socket.

Only this process reads the token. It dies with the daemon, stops when the socket ends, and takes no
step that the daemon has not committed before.
"""

import sys
from collections.abc import Callable
from typing import Any

from stackwatch.daemon.channel import Channel
from stackwatch.daemon.child import connect_to_daemon
from stackwatch.daemon.child_journal import ChildJournal
from stackwatch.daemon.child_speech import describe_unexpected, log_like_the_daemon
from stackwatch.daemon.wire import dump_record, load_record
from stackwatch.errors import StackwatchError
from stackwatch.model.delivery import (
    Delivered,
    DeliveryProgress,
    DeliveryRequest,
    UploadRecord,
)
from stackwatch.pipeline.delivery_journal import DeliveryJournal

Deliver = Callable[[DeliveryRequest, DeliveryJournal], Delivered]


class SocketJournal:
    """The delivery's journal, at the process's end of the socket."""

    def __init__(self, journal: ChildJournal) -> None:
        self.cancelled = journal.cancelled
        self._journal = journal

    def progress(self, progress: DeliveryProgress) -> None:
        """Keep the newest progress; it is sent twice a second."""
        self._journal.show(progress)

    def record(self, record: UploadRecord) -> None:
        """Return when the daemon has committed the record.

        Raises
        ------
        StackwatchError
            The daemon is gone, or refuses: nothing more may be sent.
        """
        self._journal.commit(record)


def serve(channel: Channel, deliver: Deliver) -> int:
    """Take one request from the daemon, carry it out, report, and return an exit code.

    Parameters
    ----------
    channel : Channel
    deliver : callable
        `pipeline.deliver.deliver`, or a stand-in in tests.
    """
    message = channel.receive()
    if message is None:
        return 1
    log_like_the_daemon(message.get("logs", {}), message.get("bound", {}))
    journal = ChildJournal(channel)
    journal.start()
    outcome = _report(deliver, message["request"], SocketJournal(journal))
    journal.end()
    try:
        channel.send(outcome)
    except OSError:
        return 1
    return 0


def _report(deliver: Deliver, values: dict[str, Any], journal: DeliveryJournal) -> dict[str, Any]:
    """Return the result or the error as the last message of this process."""
    try:
        delivered = deliver(load_record(DeliveryRequest, values), journal)
    except StackwatchError as error:
        return {"kind": "error", "error": error.as_record()}
    except Exception as error:  # noqa: BLE001 - whatever it is, the daemon must hear of it
        return {
            "kind": "error",
            "error": describe_unexpected(error, may_hold_secrets=True).as_record(),
        }
    return {"kind": "result", "result": dump_record(delivered)}


def main() -> int:
    """Serve one request of the daemon that started us."""
    channel = connect_to_daemon(sys.argv[1:])
    from stackwatch.pipeline.deliver import deliver

    return serve(channel, deliver)


if __name__ == "__main__":
    sys.exit(main())
