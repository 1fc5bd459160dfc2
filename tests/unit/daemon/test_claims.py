"""D10: who may write to a target: every kind of other daemon, and none."""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import structlog

from stackwatch.daemon import claim_file, claims
from stackwatch.daemon.claim_file import (
    UNREADABLE,
    Circumstances,
    Claim,
    Verdict,
    judge_claim,
)
from stackwatch.daemon.claims import ClaimHolder, Claims, ClaimState, ClaimTold
from stackwatch.daemon.staging import remove_orphans
from stackwatch.settings import FolderSettings

OURS = Claim("ours", "mic1", "boot1", 11, "/state", "em", "/drop")
OTHER = Claim("other", "mic2", "boot2", 22, "/state2", "em", "/drop", beat=7)
LOCAL = Circumstances(is_locked=False, is_local=True, unchanged_s=0, patience_s=300)
SHARED = replace(LOCAL, is_local=False)


class Manual:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        """Return the time set."""
        return self.seconds

    def now(self) -> float:
        """Return the time set."""
        return self.seconds


@pytest.mark.parametrize(
    ("found", "around", "verdict"),
    [
        (None, LOCAL, Verdict.TAKE),
        (None, replace(LOCAL, is_locked=True), Verdict.REFUSE),
        (OURS, replace(LOCAL, is_locked=True), Verdict.SHARE),
        (replace(OURS, pid=9), replace(LOCAL, is_locked=True), Verdict.REFUSE),
        (replace(OURS, pid=9), LOCAL, Verdict.TAKE),
        (replace(OURS, boot_id="before"), SHARED, Verdict.TAKE),
        (replace(OURS, host="moved", boot_id="boot2"), SHARED, Verdict.WATCH),
        (replace(OTHER, host="mic1", boot_id="boot1"), LOCAL, Verdict.TAKE_OVER),
        (replace(OTHER, host="mic1", boot_id="boot1"), SHARED, Verdict.TAKE_OVER),
        (OTHER, LOCAL, Verdict.TAKE_OVER),
        (OTHER, replace(SHARED, is_locked=True), Verdict.REFUSE),
        (OTHER, SHARED, Verdict.WATCH),
        (OTHER, replace(SHARED, unchanged_s=299), Verdict.WATCH),
        (OTHER, replace(SHARED, unchanged_s=300), Verdict.TAKE_OVER),
        (OTHER, replace(SHARED, is_locked=None), Verdict.WATCH),
        (OTHER, replace(SHARED, is_locked=None, unchanged_s=300), Verdict.TAKE_OVER),
        (replace(OTHER, boot_id="boot1"), replace(LOCAL, is_locked=None), Verdict.WATCH),
        (UNREADABLE, replace(SHARED, is_locked=None), Verdict.WATCH),
    ],
)
def test_what_is_done_about_a_claim(found, around, verdict):
    """D10: a lock that is held decides; without one the machine, then the count that grows."""
    assert verdict == judge_claim(found, OURS, around)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return a target."""
    made = tmp_path / "target"
    made.mkdir()
    return made


@pytest.fixture
def clock() -> Manual:
    """Return a clock that stands still."""
    return Manual()


@pytest.fixture
def told() -> list[ClaimTold]:
    """Return a place for what holders tell."""
    return []


@pytest.fixture
def holder(target, clock, told) -> Iterator[ClaimHolder]:
    """Return a holder on a shared target, played step by step."""
    made = ClaimHolder(target, OURS, clock, told.append, is_local=False)
    yield made
    made._file.close()


def state_of(holder: ClaimHolder) -> ClaimState:
    """Return what it came to: it changes with each step."""
    return holder.standing.state


def write_claim(target: Path, claim: Claim) -> Path:
    """Leave a claim as another daemon does."""
    (target / ".stackwatch").mkdir(exist_ok=True)
    path = target / ".stackwatch" / "claim"
    path.write_text(json.dumps(asdict(claim)))
    return path


def read_claim(target: Path) -> Claim:
    """Return what stands in the claim file."""
    return Claim(**json.loads((target / ".stackwatch" / "claim").read_bytes()))


def test_a_free_target_is_claimed_and_the_count_grows(holder, target, told):
    """D10: the claim says who we are; each step renews it."""
    holder.step()
    first = read_claim(target)
    holder.step()

    assert ClaimState.HELD is state_of(holder)
    assert (replace(OURS, beat=1), 2) == (first, read_claim(target).beat)
    assert 1 == len(told)


def test_a_living_daemon_on_another_machine_is_watched_and_left_alone(holder, target, clock):
    """D10: as long as its count grows the folder is refused, with who it is and what to do."""
    beat = 7
    for _ in range(5):
        beat += 1
        write_claim(target, replace(OTHER, beat=beat))
        holder.step()
        clock.seconds += 200

        assert ClaimState.REFUSED is state_of(holder)
        assert "pid 22 on host mic2, state_dir “/state2”" in holder.standing.reason
        assert "target of its own" in holder.standing.reason
    assert beat == read_claim(target).beat


def test_a_dead_daemon_on_another_machine_is_taken_over_with_a_warning(holder, target, clock):
    """D10: five minutes of our own clock without a sign of life are enough."""
    write_claim(target, OTHER)
    holder.step()
    clock.seconds += 299
    holder.step()
    assert ClaimState.REFUSED is state_of(holder)
    clock.seconds += 1

    with structlog.testing.capture_logs() as lines:
        holder.step()

    assert ClaimState.HELD is state_of(holder)
    assert ["claim.taken"] == [line["event"] for line in lines]
    assert "ours" == read_claim(target).ledger_id


def test_a_lock_that_is_held_is_respected_until_it_is_free(holder, target, clock):
    """D10: however long its count stands still; when the lock is free it goes on by itself."""
    path = write_claim(target, replace(OTHER, boot_id="boot1"))
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    for _ in range(3):
        holder.step()
        clock.seconds += 1000
        assert ClaimState.REFUSED is state_of(holder)
    os.close(descriptor)

    holder.step()

    assert ClaimState.HELD is state_of(holder)


def test_without_locks_the_count_decides(holder, target, clock, monkeypatch):
    """D10: where the share knows no locks a claim is watched, then taken over."""

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_claim(target, replace(OTHER, boot_id="boot1"))
    holder.step()
    assert ClaimState.REFUSED is state_of(holder)
    clock.seconds += 300

    holder.step()

    assert ClaimState.HELD is state_of(holder)


def test_half_a_claim_is_watched(holder, target, clock, monkeypatch):
    """D10: what is just being written by somebody without locks is not taken for nothing."""
    monkeypatch.setattr(claim_file.ClaimFile, "_try_lock", lambda _self: None)
    write_claim(target, OTHER).write_text('{"ledger_id": "oth')

    holder.step()

    assert ClaimState.REFUSED is state_of(holder)


def test_who_slept_too_long_notices_that_the_claim_is_gone(holder, target):
    """D10: another daemon took it over meanwhile; nothing is written to the target any more."""
    holder.step()
    (target / ".stackwatch" / "claim").unlink()
    write_claim(target, OTHER)

    holder.step()

    assert ClaimState.REFUSED is state_of(holder)
    assert OTHER == read_claim(target)


def test_a_full_disk_does_not_lose_a_claim(holder, target, monkeypatch):
    """D10: the lock is held, whatever can be written."""
    holder.step()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fail)
    holder.step()

    assert ClaimState.HELD is state_of(holder)


def test_a_target_that_is_not_there_bars_nothing(clock, tmp_path, told):
    """A conversion there is to tell what is wrong; nobody's folder is made."""
    holder = ClaimHolder(tmp_path / "away", OURS, clock, told.append)

    holder.step()

    assert ClaimState.FAILED is state_of(holder)
    assert not (tmp_path / "away").exists()


def test_staging_is_cleared_around_a_claim(holder, target):
    """D10: what dead workers left is removed, the claim and its folder stay."""
    holder.step()
    (target / ".stackwatch" / "3-1").mkdir()

    orphans = remove_orphans(target)

    assert [target / ".stackwatch" / "3-1"] == list(orphans.removed)
    assert "ours" == read_claim(target).ledger_id


def settings(name: str, target: Path) -> FolderSettings:
    """Return the settings of a folder."""
    return FolderSettings(name=name, path=Path("/drop") / name, target=target)


def wait_for(one: Claims, target: Path, *, is_usable: bool = True) -> None:
    """Wait until a claim stands, or is refused."""
    holder = one._holders[target]
    for _ in range(500):
        if holder.standing.state is not ClaimState.PENDING:
            break
        holder._thread.join(0.01)
    assert is_usable is one.may_use(target)


def test_two_daemons_on_one_machine(target, tmp_path, clock, told):
    """D10: the second is refused while the first lives; a stop leaves nothing behind."""
    first = Claims("one", tmp_path / "s1", clock, told.append)
    second = Claims("two", tmp_path / "s2", clock, told.append)
    link = tmp_path / "link"
    link.symlink_to(target)
    try:
        first.adopt((settings("a", target), settings("b", target), settings("c", link)))
        wait_for(first, target)
        wait_for(first, link)
        second.adopt((settings("a", target),))
        wait_for(second, target, is_usable=False)
        assert ("", True) == (first.refusal(target), str(tmp_path / "s1") in second.refusal(target))
    finally:
        second.close()
        first.close()

    assert [] == list(target.iterdir())


def test_a_target_that_hangs_is_told(target, clock, told, tmp_path, monkeypatch):
    """D10: nothing is written there, and the main thread does not wait."""
    answer = threading.Event()
    open_file = claim_file.ClaimFile.open

    def hang(self):
        answer.wait(60)
        return open_file(self)

    monkeypatch.setattr(claim_file.ClaimFile, "open", hang)
    made = Claims("one", tmp_path, clock, told.append)
    made.adopt((settings("a", target),))
    while made._holders[target]._began_s is None:
        made._holders[target]._thread.join(0.01)
    assert ("", False) == (made.refusal(target), made.may_use(target))
    clock.seconds += claims.ANSWER_S + 1

    assert "does not answer" in made.refusal(target)
    answer.set()
    wait_for(made, target)
    made.close()


def test_a_claim_of_another_account_is_respected(holder, target, monkeypatch):
    """D10: a claim that may be read but not written is somebody's."""
    write_claim(target, OTHER)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(claim_file.ClaimFile, "open", refuse)
    holder.step()

    assert ClaimState.REFUSED is state_of(holder)
    assert "pid 22" in holder.standing.reason
