"""The daemon's worker processes: one conversion each.

A worker's whole story arrives in one inbox: facts that wait for an acknowledgement, then its end
with a result, an error, or nothing at all. Progress is kept beside it, only the newest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stackwatch.daemon.children import Child, ChildExit, module_command
from stackwatch.daemon.wire import dump_record, load_record
from stackwatch.errors import StackwatchError, WorkerKilledError
from stackwatch.model.job import JobId
from stackwatch.pipeline.convert import ConvertRequest
from stackwatch.pipeline.journal import PublishFact

WORKER_COMMAND = module_command("stackwatch.daemon.worker_main")
KILL_GRACE_S = 5.0
"""A killed worker that is still there after this time hangs in the kernel, and is given up."""

EXIT_GRACE_S = 30.0
"""How long a worker may take to exit after its last word, before it is killed."""


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt at one job, for a worker.

    Attributes
    ----------
    job_id : JobId
    attempt : int
    request : ConvertRequest
    bound : dict
        Keys for every log line of the worker. JSON values.
    logs : dict
        `format`, `level` and `file` of the logs; empty to leave logging alone.
    task : "convert" | "digest" | "inspect"
        Convert and publish, or only return the content digest, or what would be made of it.
    state_dir : Path or None
        Where the worker leaves pictures of what it published, after its last word; None: nowhere.
    """

    job_id: JobId
    attempt: int
    request: ConvertRequest
    bound: dict[str, Any]
    logs: dict[str, Any]
    task: Literal["convert", "digest", "inspect"] = "convert"
    state_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class FactReported:
    """A worker waits for `acknowledge` or `refuse`."""

    worker: "Worker"
    sequence: int
    fact: PublishFact


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """A worker has exited: call `outcome`."""

    worker: "Worker"


WorkerEvent = FactReported | WorkerEnded


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt.

    Attributes
    ----------
    result : dict or None
        `ConvertResult.as_record()`, if it succeeded; of the task `digest` its key
        `content_digest` alone; of `inspect` the record of `InspectResult`.
    error : StackwatchError or None
        Why not, otherwise.
    exit : ChildExit
    """

    result: dict[str, Any] | None
    error: StackwatchError | None
    exit: ChildExit


class Worker:
    """A worker process and the attempt it makes. Started by the main thread.

    Parameters
    ----------
    order : Order
    post : callable
        Takes the worker's events; called from a thread of its own.
    command : sequence of str
        What to start; tests give a stand-in.

    Raises
    ------
    OSError
        The process cannot be started.
    """

    def __init__(
        self,
        order: Order,
        post: Callable[[WorkerEvent], None],
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self.order = order
        self.progress: dict[str, Any] | None = None
        self._post = post
        self._last_word: dict[str, Any] | None = None
        self._child = Child(command, self._hear)
        self._child.send(
            {
                "kind": "request",
                "task": order.task,
                "request": dump_record(order.request),
                "bound": order.bound,
                "logs": order.logs,
                "state_dir": str(order.state_dir) if order.state_dir is not None else None,
            }
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def has_spoken(self) -> bool:
        """Whether the result or the error is here; what is left is the exit."""
        return self._last_word is not None

    def acknowledge(self, reported: FactReported) -> None:
        """Tell the worker that its fact is committed."""
        self._child.send({"kind": "acknowledged", "sequence": reported.sequence})

    def refuse(self, reported: FactReported, error: StackwatchError) -> None:
        """Tell the worker to give up without publishing."""
        self._child.send(
            {"kind": "refused", "sequence": reported.sequence, "error": error.as_record()}
        )

    def stop(self) -> None:
        """Ask the worker to stop at the next slab."""
        self._child.send({"kind": "stop"})

    def kill(self) -> None:
        """Kill the worker at once."""
        self._child.kill()

    def outcome(self) -> Outcome:
        """Bury the worker and return what came of its attempt."""
        return self.give_up(self._child.reap())

    def give_up(self, child_exit: ChildExit) -> Outcome:
        """Return what came of the attempt so far, without burying a worker that does not end."""
        word = self._last_word or {}
        match word.get("kind"):
            case "result":
                return Outcome(word["result"], None, child_exit)
            case "error":
                return Outcome(None, StackwatchError.from_record(word["error"]), child_exit)
            case _:
                return Outcome(None, _worker_killed(child_exit), child_exit)

    def _hear(self, _child: Child, message: dict[str, Any] | None) -> None:
        """Sort what the worker says. Runs in the listening thread."""
        if message is None:
            self._post(WorkerEnded(self))
            return
        match message.get("kind"):
            case "progress":
                self.progress = message["progress"]
            case "record":
                fact = load_record(PublishFact, message["fact"])
                self._post(FactReported(self, int(message["sequence"]), fact))
            case "result" | "error":
                self._last_word = message


def _worker_killed(child_exit: ChildExit) -> WorkerKilledError:
    """Return the error for a worker that ended without a word."""
    return WorkerKilledError(
        f"The conversion's process ended without a word ({child_exit}, peak memory "
        f"{child_exit.peak_mib:.0f} MiB). Often the machine was short of memory. It is tried again "
        "with half the memory and one thread; if that fails too, lower `memory_gib` or `workers` "
        "under `[daemon]`.",
        hint="Lower `memory_gib` or `workers` under `[daemon]`, or add memory.",
        exit_code=child_exit.code,
        peak_mib=round(child_exit.peak_mib, 1),
    )
