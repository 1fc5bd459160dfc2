"""Hold a claim on every target while the daemon lives, so that two daemons never share one.

A target may hang: each has a thread of its own, and the main thread only reads what it came to.
"""

import errno
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from stackwatch.clock import Clock
from stackwatch.daemon.claim_file import (
    Circumstances,
    Claim,
    ClaimFile,
    Verdict,
    explain_refusal,
    judge_claim,
)
from stackwatch.daemon.scanner import find_mount
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.settings import FolderSettings
from stackwatch.watch.mounts import is_remote_type

BEAT_S: Final = 30.0
LOOK_S: Final = 5.0
"""How often a claim that somebody else holds, or that could not be laid, is looked at."""
PATIENCE_S: Final = 300.0
"""Ten beats of another daemon may be missing before it counts as gone."""
ANSWER_S: Final = 60.0
"""A target that takes longer to answer is said to hang."""
END_S: Final = 3.0
"""How long the end waits for claims to be released; what hangs is left as after a kill."""

_TRIES: Final = 20
_TRY_S: Final = 0.05
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class ClaimState(StrEnum):
    """How it stands with the claim on a target."""

    PENDING = "pending"
    HELD = "held"
    REFUSED = "refused"
    FAILED = "failed"
    """It cannot be laid, and nobody else's was seen: a conversion there will tell why."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a holder came to; `reason` is for a person, empty if all is well."""

    state: ClaimState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ClaimTold:
    """A holder came to something new."""

    target: Path


class ClaimHolder:
    """The claim on one target, in a thread of its own.

    Parameters
    ----------
    target : Path
    claim : Claim
    clock : Clock
    tell : callable
        Called from the thread when `standing` changed.
    is_local : bool or None
        Whether only this machine reaches the target; None: look at its mount.
    """

    def __init__(
        self,
        target: Path,
        claim: Claim,
        clock: Clock,
        tell: Callable[[ClaimTold], None],
        *,
        is_local: bool | None = None,
    ) -> None:
        self.target = target
        self.standing = Standing(ClaimState.PENDING)
        self._claim = claim
        self._clock = clock
        self._tell = tell
        self._is_local = is_local
        self._file = ClaimFile(target)
        self._seen: tuple[Claim | None, float] | None = None
        self._is_shared = False
        self._stop = threading.Event()
        self._began_s: float | None = None
        self._thread = threading.Thread(target=self._serve, name="claim", daemon=True)

    def start(self) -> None:
        """Begin; `standing` tells what comes of it."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to release the claim and to end."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, but not for a target that hangs."""
        self._thread.join(max(0.0, seconds))

    @property
    def hung_s(self) -> float:
        """For how long the target has not answered."""
        began_s = self._began_s
        return 0.0 if began_s is None else self._clock.monotonic() - began_s

    def _serve(self) -> None:
        while not self._stop.is_set():
            self._began_s = self._clock.monotonic()
            pause_s = self.step()
            self._began_s = None
            self._stop.wait(pause_s)
        if self.standing.state is ClaimState.HELD and not self._is_shared:
            self._file.release()
        else:
            self._file.close()

    def step(self) -> float:
        """Lay the claim or renew it; return after how many seconds to look again."""
        try:
            if self.standing.state is ClaimState.HELD and not self._is_shared:
                return self._renew()
            return self._try()
        except OSError as error:
            found = self._file.peek()
            if found is not None:  # somebody else's, who does not let us write
                self._note(ClaimState.REFUSED, explain_refusal(self.target, found))
                return LOOK_S
            self._file.close()
            self._note(ClaimState.FAILED, error.strerror or str(error))
            return LOOK_S

    def _try(self) -> float:
        found = self._file.open()
        for _ in range(_TRIES):
            if not self._file.is_locked or found is not None:
                break
            self._stop.wait(_TRY_S)  # whoever took the lock is about to write who it is
            found = self._file.read()
        now_s = self._clock.monotonic()
        if self._seen is None or self._seen[0] != found:
            self._seen = (found, now_s)
        around = Circumstances(
            self._file.is_locked, self._on_local_mount(), now_s - self._seen[1], PATIENCE_S
        )
        verdict = judge_claim(found, self._claim, around)
        self._is_shared = verdict is Verdict.SHARE
        if verdict in (Verdict.TAKE, Verdict.TAKE_OVER):
            if verdict is Verdict.TAKE_OVER and found is not None:
                self._say_taken_over(found)
            return self._renew()
        self._file.close()
        if self._is_shared:
            self._note(ClaimState.HELD)
            return LOOK_S
        self._note(ClaimState.REFUSED, explain_refusal(self.target, found))
        return LOOK_S

    def _renew(self) -> float:
        """Write the next beat, unless somebody took the claim over while we slept."""
        if self.standing.state is ClaimState.HELD and not self._file.is_ours(self._claim):
            self._file.close()
            self._note(ClaimState.PENDING)
            return self._try()
        self._claim = self._claim.next_beat()
        try:
            self._file.write(self._claim)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or self._file.is_locked is None:
                raise  # with a lock that works a full disk loses nothing
        self._note(ClaimState.HELD)
        return BEAT_S

    def _note(self, state: ClaimState, reason: str = "") -> None:
        standing = Standing(state, reason)
        if standing != self.standing:
            self.standing = standing
            self._tell(ClaimTold(self.target))

    def _on_local_mount(self) -> bool:
        if self._is_local is None:
            mount = find_mount(self.target)
            self._is_local = mount is not None and not is_remote_type(mount.fstype)
        return self._is_local

    def _say_taken_over(self, found: Claim) -> None:
        logger(path=show_path(self.target)).warning(
            Event.CLAIM_TAKEN,
            reason=f"The claim of another stackwatch ({found.shown}) was left behind and is taken "
            "over: it gave no sign of life.",
            hint="If the other still runs, stop it, or give each a target of its own.",
        )


class Claims:
    """The claims on all targets. Used by the main thread alone.

    Parameters
    ----------
    ledger_id : str
    state_dir : Path
    clock : Clock
    tell : callable
        Takes `ClaimTold` from other threads.
    """

    def __init__(
        self, ledger_id: str, state_dir: Path, clock: Clock, tell: Callable[[ClaimTold], None]
    ) -> None:
        self._ledger_id = ledger_id
        self._state_dir = state_dir
        self._clock = clock
        self._tell = tell
        self._holders: dict[Path, ClaimHolder] = {}

    def adopt(self, folders: tuple[FolderSettings, ...]) -> None:
        """Claim the targets of these folders, and release all others."""
        wanted = {folder.target: folder for folder in reversed(folders)}
        for gone in set(self._holders) - set(wanted):
            self._holders.pop(gone).stop()
        for target, folder in wanted.items():
            if target not in self._holders:
                if target.is_relative_to(self._state_dir):  # it stands for a bucket
                    target.mkdir(parents=True, exist_ok=True)
                claim = self._claim_for(folder)
                holder = ClaimHolder(target, claim, self._clock, self._tell)
                self._holders[target] = holder
                holder.start()

    def may_use(self, target: Path) -> bool:
        """Tell whether a conversion may write to a target: nobody else does.

        A target of no folder is nobody's concern any more.
        """
        holder = self._holders.get(target)
        usable = (ClaimState.HELD, ClaimState.FAILED)
        return holder is None or holder.standing.state in usable

    def refusal(self, target: Path) -> str:
        """Return why nothing may be written to a target, for a person; empty if it may."""
        holder = self._holders.get(target)
        if holder is None:
            return ""
        if holder.standing.state is ClaimState.REFUSED:
            return holder.standing.reason
        if holder.standing.state is ClaimState.PENDING and holder.hung_s > ANSWER_S:
            return (
                f"The target “{show_path(target)}” does not answer: nothing of this folder is "
                "converted until it does. Look at the mount."
            )
        return ""

    def close(self) -> None:
        """Release every claim; one whose target hangs is left as after a kill."""
        for holder in self._holders.values():
            holder.stop()
        deadline_s = self._clock.monotonic() + END_S
        for holder in self._holders.values():
            holder.join(deadline_s - self._clock.monotonic())
        self._holders.clear()

    def _claim_for(self, folder: FolderSettings) -> Claim:
        return Claim(
            ledger_id=self._ledger_id,
            host=socket.gethostname(),
            boot_id=read_boot_id(),
            pid=os.getpid(),
            state_dir=show_path(self._state_dir),
            folder=folder.name,
            path=show_path(folder.path),
        )


def read_boot_id() -> str:
    """Return what tells this start of the machine from all others; empty where it is hidden."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
