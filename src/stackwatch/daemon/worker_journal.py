"""The journal of a conversion at the worker's end of the socket.

Progress may be lost; a fact returns only when the daemon has committed it. A worker whose daemon
is gone can therefore never publish.
"""

import os
import queue
import threading

from stackwatch.daemon.channel import Channel
from stackwatch.daemon.wire import dump_record
from stackwatch.errors import CancelledError, StackwatchError
from stackwatch.logs import Event, logger
from stackwatch.model.result import Progress
from stackwatch.pipeline.journal import PublishFact

PROGRESS_INTERVAL_S = 0.5
ORPHAN_GRACE_S = 30.0
"""How long a worker whose daemon is gone may take to reach the next slab and clean up."""


class DaemonJournal:
    """The conversion's journal, at the worker's end of the socket.

    Parameters
    ----------
    channel : Channel
        Connected to the daemon; the journal's own thread reads it.

    Attributes
    ----------
    published : list of PublishFact
        What this worker has published, as far as the daemon has committed it.
    """

    def __init__(self, channel: Channel) -> None:
        self.cancelled = threading.Event()
        self.published: list[PublishFact] = []
        self._channel = channel
        self._newest: Progress | None = None
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

    def progress(self, progress: Progress) -> None:
        """Keep the newest progress; a thread of its own sends it twice a second."""
        before, self._newest = self._newest, progress
        done, total = progress.ranges_done, progress.ranges_total
        if done and (before is None or (before.ranges_done, before.ranges_total) != (done, total)):
            logger().info(Event.RANGE_DONE, layer=progress.layer, range=f"{done} of {total}")

    def record(self, fact: PublishFact) -> None:
        """Send a fact and wait until the daemon has committed it.

        Raises
        ------
        CancelledError
            The daemon is gone: nobody may publish.
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
        if fact.stage == "published":
            self.published.append(fact)

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
        """Wake the thread that waits in `record`."""
        with self._lock:
            reply = self._replies.pop(sequence, None)
        if reply is not None:
            reply.put(refusal)

    def _give_up(self) -> None:
        """Stop the conversion of a daemon that is gone, by force if it does not hear."""
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
        sent: Progress | None = None
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
        "The daemon is gone. Nothing is published; the next daemon starts this job again.",
        hint="Start the daemon again.",
    )
