"""One delivery in the hands of a process: how far it is, and whether it gets on."""

from dataclasses import dataclass, field
from typing import Any

from stackwatch.daemon.children import Child
from stackwatch.daemon.delivery_rules import find_silence
from stackwatch.daemon.workers import EXIT_GRACE_S, KILL_GRACE_S
from stackwatch.errors import StackwatchError, StalledError, WorkerKilledError
from stackwatch.ledger.delivery_records import DeliveryRecord
from stackwatch.model.delivery import ServerOptions


@dataclass(eq=False, slots=True)
class Running:
    """A delivery that a process works on. Times are monotonic seconds.

    Attributes
    ----------
    delivery : DeliveryRecord
        As it was begun.
    child : Child
    server : ServerOptions
    moved_s, noted_s : float
        When it last got on; when its progress last went into the ledger.
    stage : str
        The last one that was committed, or reported.
    progress : dict or None
        The newest it has reported.
    verdict : StackwatchError or None
        Why we ended it.
    killed_s : float or None
        When we killed it.
    is_given_up : bool
        Not even SIGKILL ended it: it takes no slot any more, and nobody else has its delivery.
    is_waiting : bool
        It waits for us to commit a step.
    last_word : dict
        Its result or its error, once it has said it.
    """

    delivery: DeliveryRecord
    child: Child
    server: ServerOptions
    moved_s: float
    noted_s: float
    stage: str = "planned"
    progress: dict[str, Any] | None = None
    verdict: StackwatchError | None = None
    killed_s: float | None = None
    is_given_up: bool = False
    is_waiting: bool = False
    last_word: dict[str, Any] = field(default_factory=dict)

    def take_progress(self, progress: dict[str, Any], now_s: float) -> bool:
        """Keep the newest progress; return whether the server took bytes since the last one."""
        before, self.progress = self.progress, progress
        self.stage = str(progress.get("stage", self.stage))
        if before is not None and _place(before) == _place(progress):
            return False
        self.moved_s = now_s
        return before is not None and self.stage == "sending"

    def end_if_silent(self, now_s: float, stall_after_s: float) -> None:
        """Kill the process if nothing has moved for too long; give up one that does not end."""
        if self.is_waiting:  # which is no fault of its own
            self.moved_s = now_s
        if self.killed_s is not None:
            self.is_given_up = now_s - self.killed_s > KILL_GRACE_S
            return
        silent_s = now_s - self.moved_s
        if self.last_word:  # what is left is the exit
            patience_s = EXIT_GRACE_S
        else:
            patience_s = find_silence(self.stage, stall_after_s, self.server)
        if silent_s <= patience_s:
            return
        if not self.last_word:
            self.verdict = _silent(self, silent_s)
        self.killed_s = now_s
        self.child.kill()

    def outcome(self) -> StackwatchError | dict[str, Any]:
        """Return the record of what was delivered, or why nothing was."""
        word = self.last_word
        if self.verdict is not None:
            return self.verdict
        if word.get("kind") == "result":
            result: dict[str, Any] = word["result"]
            return result
        return StackwatchError.from_record(word["error"]) if "error" in word else _cut_off()

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "delivery_id": self.delivery.delivery_id,
            "pid": self.child.pid,
            "stage": self.stage,
            "progress": self.progress,
        }


def stage_of(delivery: DeliveryRecord) -> str:
    """Return the step that was begun last."""
    return delivery.record.stage if delivery.record is not None else "planned"


def _place(progress: dict[str, Any]) -> list[Any]:
    return [progress.get(key) for key in ("stage", "done_bytes", "compared")]


def _silent(running: Running, silent_s: float) -> StalledError:
    hint = "Look at the server, and at the disk that holds the dataset, or raise `stall_after_s`."
    return StalledError(
        f"The delivery of “{running.delivery.name}” made no progress for {silent_s:.0f} s "
        f"({running.stage}) and was ended. It goes on by itself later. {hint}",
        hint=hint,
        seconds=round(silent_s),
    )


def _cut_off() -> WorkerKilledError:
    hint = "Look for the OOM killer in the kernel's log; lower `parallel` or `chunk_mib`."
    return WorkerKilledError(
        f"The process of the delivery ended without a word. It goes on where it was. {hint}",
        hint=hint,
    )
