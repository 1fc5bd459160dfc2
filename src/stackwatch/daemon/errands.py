"""Errands: small pieces of work at a target, done by a process that may hang in the daemon's place.

A target may lie on a share that does not answer, or on a disk that is stuck; whoever touches it
then waits, and not even SIGKILL ends that. So the daemon never touches one: it sends a process,
one for each mount, and goes on. A process that does not come back in time is given up.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from stackwatch.clock import Clock
from stackwatch.daemon.children import Child, module_command
from stackwatch.daemon.scanner import find_mount
from stackwatch.daemon.wire import dump_record, load_record
from stackwatch.model.acquisition import show_path

ERRAND_COMMAND = module_command("stackwatch.daemon.errand_main")

DEADLINE_S = 60.0
"""How long an errand may take; one that removes much is given more."""

KILL_GRACE_S = 5.0
"""What waits for a killed process that does not end is given up after this time."""

IDLE_S = 20.0
"""A process without errands is sent home after this time: it costs memory."""

Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The target did not answer, or the errand failed; `reason` is for a person."""

    reason: str


@dataclass(eq=False, slots=True)
class Errand:
    """One piece of work, and who waits for its answer."""

    place: Path
    work: str
    question: Any  # any record
    read_answer: Callable[[Any], Any]
    tell: Callable[[Any], None]
    deadline_s: float


@dataclass(frozen=True, slots=True)
class ErrandSaid:
    """An errand process answered, or ended (None). Give it to `Errands.take`."""

    runner: "Runner"
    child: Child
    message: dict[str, Any] | None


@dataclass(eq=False, slots=True)
class Runner:
    """The process of one mount and the errands that wait for it."""

    waiting: deque[Errand] = field(default_factory=deque)
    current: Errand | None = None
    child: Child | None = None
    is_killed: bool = False
    until_s: float = 0.0
    """When the errand is late; without one, when the process may go."""


class Errands:
    """Does small work at targets, in processes of their own. Used by the main thread alone.

    Parameters
    ----------
    post : callable
        Takes `ErrandSaid`; called from other threads.
    clock : Clock
    command : sequence of str
        What to start; tests give a stand-in.
    """

    def __init__(
        self,
        post: Callable[[ErrandSaid], None],
        clock: Clock,
        command: Sequence[str] = ERRAND_COMMAND,
    ) -> None:
        self._post = post
        self._clock = clock
        self._command = command
        self._runners: dict[str, Runner] = {}
        self._is_closed = False

    def ask(
        self,
        place: Path,
        work: Callable[[Q], A],
        question: Q,
        tell: Callable[[A | Unanswered], None],
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Have work done at a place; `tell` gets the answer later, in the main thread.

        Parameters
        ----------
        place : Path
            The target, or something in it; not touched here.
        work : callable
            A function of a module of ours with one parameter; parameter and answer are records
            that `wire` can carry, named in its type hints.
        question : record
        tell : callable
            Called once, unless the daemon ends before.
        deadline_s : float
            Counted from when the process begins with it.
        """
        answer = get_type_hints(work)["return"]
        errand = Errand(
            place,
            f"{work.__module__}:{work.__qualname__}",
            question,
            lambda value: load_record(answer, value),
            tell,
            deadline_s,
        )
        mount = find_mount(place)
        runner = self._runners.setdefault(mount.mount_point if mount else "", Runner())
        runner.waiting.append(errand)
        self._advance(runner)

    def take(self, said: ErrandSaid) -> None:
        """Act upon an answer, or upon the end of a process."""
        runner, errand = said.runner, said.runner.current
        if said.message is None:
            said.child.reap()
            runner.child, runner.current, runner.is_killed = None, None, False
            if errand is not None:
                reason = f"The process that looked at “{show_path(errand.place)}” ended."
                errand.tell(Unanswered(reason))
        elif errand is None or runner.is_killed:
            return  # the answer came after the deadline
        else:
            runner.current = None
            runner.until_s = self._clock.monotonic() + IDLE_S
            errand.tell(_read_answer(errand, said.message))
        self._advance(runner)

    def tick(self) -> None:
        """Give up on what is late, and send processes home that have nothing to do."""
        now_s = self._clock.monotonic()
        for runner in tuple(self._runners.values()):
            self._advance(runner)  # a process that could not be started is tried again
            if runner.child is None or runner.until_s > now_s:
                continue
            late = [runner.current] if runner.current is not None else []
            if runner.is_killed:
                # not even SIGKILL ends a process that waits for a dead share
                late += runner.waiting
                runner.waiting.clear()
            runner.is_killed = True
            runner.current = None
            runner.until_s = now_s + KILL_GRACE_S
            runner.child.kill()
            for errand in late:
                errand.tell(_hung(errand))

    def close(self) -> None:
        """Kill every process. One that hangs in the kernel is left to the kernel."""
        self._is_closed = True
        for runner in self._runners.values():
            runner.waiting.clear()
            runner.current = None
            if runner.child is not None:
                runner.is_killed = True
                runner.child.kill()

    @property
    def has_children(self) -> bool:
        """Whether a process is still there."""
        return any(runner.child is not None for runner in self._runners.values())

    def _advance(self, runner: Runner) -> None:
        """Give a free process the next errand."""
        if runner.current is not None or runner.is_killed or not runner.waiting or self._is_closed:
            return
        if runner.child is None:
            try:
                runner.child = Child(
                    self._command,
                    lambda child, message: self._post(ErrandSaid(runner, child, message)),
                )
            except OSError:
                return  # short of memory or processes; `tick` tries again
        errand = runner.current = runner.waiting.popleft()
        runner.until_s = self._clock.monotonic() + errand.deadline_s
        runner.child.send({"work": errand.work, "question": dump_record(errand.question)})


def _read_answer(errand: Errand, message: dict[str, Any]) -> Any:
    if "error" in message:
        return Unanswered(str(message["error"]))
    return errand.read_answer(message["answer"])


def _hung(errand: Errand) -> Unanswered:
    return Unanswered(
        f"“{show_path(errand.place)}” did not answer within {errand.deadline_s:g} s. The disk or "
        "share hangs; other folders go on. Look at the mount."
    )
