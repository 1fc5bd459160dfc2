"""What people do who are new to it: odd numbers and names, places they may not read, full disks."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stackwatch.cli.app import app
from stackwatch.daemon.control import request
from stackwatch.errors import ExitCode, LedgerError, NoDaemonError, StackwatchError
from stackwatch.ledger.backup import ensure_readable
from stackwatch.ledger.ledger import LEDGER_NAME
from stackwatch.ledger.reader import LedgerReader

from .conftest import History

PROGRAM = (sys.executable, "-c", "from stackwatch.cli.app import main; main()")
NOBODY = 65534


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let a file or a directory be of somebody else."""
    mode = path.stat().st_mode
    path.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        path.chmod(mode)


def refusal(history: History) -> list[str]:
    """Return what is said by those who look into the ledger."""
    said = []
    for look in (
        lambda: LedgerReader.open(history.state_dir),
        lambda: ensure_readable(history.state_dir / LEDGER_NAME),
    ):
        with pytest.raises(LedgerError) as caught:
            look()
        said.append(caught.value.message)
    return said


@pytest.mark.parametrize("number", ["0", "-1", str(2**63), "9" * 40, "x"])
@pytest.mark.parametrize("command", [("jobs", "show"), ("jobs", "retry"), ("deliveries", "show")])
def test_a_number_that_is_none(history: History, command: Sequence[str], number: str):
    """What can be no number of the ledger is a mistake of the caller's."""
    options = ["--config", str(history.config)]
    result = CliRunner().invoke(app, [*command, *options, "--", number])

    assert ExitCode.USAGE == result.exit_code
    assert "Invalid value" in result.output


@pytest.mark.parametrize("what", ["jobs", "deliveries"])
def test_a_folder_that_is_none(history: History, what: str):
    """Where a drop folder is mistyped, those that there are are named."""
    text = history.run(what, "list", "--folder", "emm").stdout

    assert f"no {what}; no drop folder “emm” was watched so far, but em1\n" == text


@pytest.mark.parametrize("part", ["", LEDGER_NAME])
def test_a_ledger_of_somebody_else(history: History, part: str):
    """Who may not read it is told so, and not that it is absent, damaged or to be restored."""
    with locked(history.state_dir / part):
        said = refusal(history)
        with pytest.raises(NoDaemonError):
            request(history.state_dir, {"command": "status"})

    assert all("Permission denied" in one and "sudo -u stackwatch" in one for one in said)
    assert not any("restore" in one for one in said)


def test_a_ledger_that_is_damaged(history: History):
    """Who looks at a damaged ledger is led to the command that tells how to go on."""
    (history.state_dir / LEDGER_NAME).write_bytes(b"no ledger at all" * 999)

    with pytest.raises(StackwatchError, match="stackwatch ledger check"):
        LedgerReader.open(history.state_dir)


@pytest.mark.parametrize("argument", ["formats", "--help"])
def test_a_full_disk_is_no_success(argument: str):
    """Who writes an answer to a full disk does not go on as if he had it."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [*PROGRAM, argument], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert ExitCode.FAILED == done.returncode
    assert "Error: The answer could not be written: No space left on device.\n" == done.stderr


def test_a_stdout_that_is_closed():
    """Without any stdout there is no answer, and no mistake."""
    done = subprocess.run(
        ["sh", "-c", '"$@" formats >&-', "sh", *PROGRAM], capture_output=True, check=False
    )

    assert (0, b"") == (done.returncode, done.stderr)
