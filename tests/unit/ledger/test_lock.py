"""The lock of a state directory."""

import subprocess
import sys

import pytest

from stackwatch.errors import ExitCode, LedgerError, LedgerInUseError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.lock import LOCK_NAME, StateLock, is_locked

HOLD = """
import sys
from pathlib import Path
from stackwatch.ledger.lock import StateLock
lock = StateLock.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_open_refuses_a_second_process(tmp_path):
    """Another process's ledger is refused with its pid, and free again once it was killed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LedgerInUseError) as caught:
            Ledger.open(tmp_path)
        was_locked = is_locked(tmp_path)
        holder.kill()
    Ledger.open(tmp_path).close()

    assert (holder.pid, ExitCode.UNAVAILABLE) == (
        caught.value.values["pid"],
        caught.value.exit_code,
    )
    assert (True, False) == (was_locked, is_locked(tmp_path))


def test_open_refuses_the_same_process_too(tmp_path):
    """Two ledgers on one directory are one too many, whoever opens them."""
    with Ledger.open(tmp_path), pytest.raises(LedgerInUseError):
        Ledger.open(tmp_path)


def test_take_survives_a_strange_file(tmp_path):
    """What stands in the file is for people: the lock itself is the kernel's."""
    (tmp_path / LOCK_NAME).write_bytes(b"[nonsense")
    lock = StateLock.take(tmp_path)
    (tmp_path / LOCK_NAME).write_bytes(b"[nonsense")
    with pytest.raises(LedgerInUseError) as caught:
        StateLock.take(tmp_path)
    lock.release()
    lock.release()

    assert "unknown" == caught.value.values["pid"]


def test_take_without_a_directory(tmp_path):
    """A state directory that cannot be used is an error that names the setting."""
    with pytest.raises(LedgerError) as caught:
        StateLock.take(tmp_path / "absent")

    assert "state_dir" in caught.value.hint


def test_open_where_no_directory_can_be_made(tmp_path):
    """A file in the place of the state directory is an error that names the setting."""
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError) as caught:
        Ledger.open(tmp_path / "file/state")

    assert "state_dir" in caught.value.hint


def test_is_locked_without_a_lock(tmp_path):
    """Where no daemon ever ran nothing is locked."""
    assert not is_locked(tmp_path)
