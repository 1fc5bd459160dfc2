"""How a child process tells the daemon how far it is, and what must last before it goes on.

Progress may be lost; what is committed returns only when the daemon has it in the ledger. A child
whose daemon is gone can therefore not go on.
"""

import os
import queue
import threading

from stackwatch.daemon.channel import Channel
from stackwatch.daemon.wire import dump_record
from stackwatch.errors import CancelledError, StackwatchError

PROGRESS_INTERVAL_S = 0.5
ORPHAN_GRACE_S = 30.0
"""How long a child whose daemon is gone may take to come to an end by itself."""


class ChildJournal:
    """The child's end of the socket.

    Parameters
    ----------
    channel : Channel
        Connected to the daemon; a thread of the journal's own reads it.

    Attributes
    ----------
    cancelled : threading.Event
        Set when the daemon asks to stop, or is gone.
    """

    def __init__(self, channel: Channel) -> None:
        self.cancelled = threading.Event()
        self._channel = channel
        self._newest: object = None
        self._lock = threading.Lock()
        self._is_gone = False
        self._sequence = 0
        self._replies: dict[int, queue.SimpleQueue[StackwatchError | None]] = {}
        self._ended = threading.Event()

    def start(self) -> None:
        """Listen to the daemon, and send progress now and then."""
        threading.Thread(target=self._listen, name="daemon-listener", daemon=True).start()
        threading.Thread(target=self._send_progress, name="progress", daemon=True).start()

    def end(self) -> None:
        """Send no more progress: the result comes next."""
        self._ended.set()

    def show(self, progress: object) -> None:
        """Keep the newest progress, a frozen record; a thread of its own sends it now and then."""
        self._newest = progress

    def commit(self, fact: object) -> None:
        """Send a fact, a frozen record, and wait until the daemon has committed it.

        Raises
        ------
        CancelledError
            The daemon is gone.
        StackwatchError
            The daemon refuses.
        """
        reply: queue.SimpleQueue[StackwatchError | None] = queue.SimpleQueue()
        with self._lock:
            if self._is_gone:
                raise _orphaned()
            self._sequence += 1
            sequence = self._sequence
            self._replies[sequence] = reply
        try:
            self._channel.send({"kind": "record", "sequence": sequence, "fact": dump_record(fact)})
        except OSError as error:
            raise _orphaned() from error
        refusal = reply.get()
        if refusal is not None:
            raise refusal

    def _listen(self) -> None:
        """Take acknowledgements, refusals and the wish to stop, until the daemon is gone."""
        for message in self._channel.iter_messages():
            match message.get("kind"):
                case "acknowledged":
                    self._reply(int(message["sequence"]), None)
                case "refused":
                    error = StackwatchError.from_record(message["error"])
                    self._reply(int(message["sequence"]), error)
                case "stop":
                    self.cancelled.set()
        self._give_up()

    def _reply(self, sequence: int, refusal: StackwatchError | None) -> None:
        """Wake the thread that waits in `commit`."""
        with self._lock:
            reply = self._replies.pop(sequence, None)
        if reply is not None:
            reply.put(refusal)

    def _give_up(self) -> None:
        """Stop the work of a daemon that is gone, by force if it does not hear."""
        with self._lock:
            self._is_gone = True
            waiting = list(self._replies.values())
        self.cancelled.set()
        for reply in waiting:
            reply.put(_orphaned())
        timer = threading.Timer(ORPHAN_GRACE_S, os._exit, args=(1,))
        timer.daemon = True
        timer.start()

    def _send_progress(self) -> None:
        """Send the newest progress, if there is a newer one."""
        sent: object = None
        while not self._ended.wait(PROGRESS_INTERVAL_S):
            newest = self._newest
            if newest is not sent and newest is not None:
                sent = newest
                try:
                    self._channel.send({"kind": "progress", "progress": dump_record(newest)})
                except OSError:
                    return


def _orphaned() -> CancelledError:
    return CancelledError(
        "The daemon is gone. Nothing more is done; the next start takes it up.",
        hint="Start the daemon again.",
    )
