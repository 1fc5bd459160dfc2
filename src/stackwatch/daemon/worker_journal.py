"""The journal of a conversion at the worker's end of the socket.

Progress may be lost; a fact returns only when the daemon has committed it. A worker whose daemon
is gone can therefore never publish.
"""

from stackwatch.daemon.channel import Channel
from stackwatch.daemon.child_journal import ChildJournal
from stackwatch.logs import Event, logger
from stackwatch.model.result import Progress
from stackwatch.pipeline.journal import PublishFact


class DaemonJournal(ChildJournal):
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
        super().__init__(channel)
        self.published: list[PublishFact] = []
        self._before: Progress | None = None

    def progress(self, progress: Progress) -> None:
        """Keep the newest progress; a thread of its own sends it twice a second."""
        before, self._before = self._before, progress
        self.show(progress)
        done, total, taken = progress.ranges_done, progress.ranges_total, progress.ranges_taken
        told = (before.ranges_done, before.ranges_total, before.ranges_taken) if before else ()
        if taken and told[1:] != (total, taken):
            why = "an earlier attempt had finished them"
            told_range = f"{taken} of {total}"
            logger().info(Event.RANGES_TAKEN, layer=progress.layer, range=told_range, reason=why)
        if done > taken and told[:2] != (done, total):
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
        self.commit(fact)
        if fact.stage == "published":
            self.published.append(fact)
