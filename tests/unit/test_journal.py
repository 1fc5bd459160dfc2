"""Entries of the journal: what arrives at a bound socket, and that nobody is ever waited for."""

import array
import io
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackwatch import journal
from stackwatch.journal import (
    LINE_BYTES_MAX,
    MESSAGE_IDS,
    WAITING_BYTES_MAX,
    JournalOutlet,
    describe_event,
    make_entry,
    make_line,
)
from stackwatch.logs import Event, configure_logs, drain_logs, logger

PARKED = {
    "timestamp": "2026-01-01T00:00:00Z", "level": "error", "event": "job.parked", "job_id": 7,
    "folder": "em1", "acquisition": "run_041", "message": "Slice 12 is missing.", "layer": None,
}  # fmt: skip


class Journal:
    """A bound socket that reads entries as journald does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.setblocking(False)

    def entries(self) -> list[dict[str, str]]:
        """Return what has come."""
        found: list[dict[str, str]] = []
        while True:
            try:
                data, ancillary, *_ = self.sock.recvmsg(1 << 20, socket.CMSG_SPACE(4))
            except BlockingIOError:
                return found
            for _, _, passed in ancillary:
                (descriptor,) = array.array("i", passed)
                with os.fdopen(descriptor, "rb") as file:
                    file.seek(0)
                    data = file.read()
            found.append(parse_entry(data))


def parse_entry(data: bytes) -> dict[str, str]:
    """Return the fields of an entry: `NAME=value`, or `NAME`, length and value."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        fields[name.decode()] = value.decode()
        data = rest
    return fields


def tell_lost(lines: int) -> dict[str, Any]:
    """Return the event of lost lines."""
    return {"event": "log.lost", "level": "warning", "lines": lines}


@pytest.fixture
def system_journal(tmp_path: Path) -> Iterator[Journal]:
    """A journal that listens."""
    made = Journal(tmp_path / "socket")
    yield made
    made.sock.close()


@pytest.fixture
def outlet(system_journal: Journal) -> Iterator[JournalOutlet]:
    """The way to it."""
    made = JournalOutlet(tell_lost, str(system_journal.path))
    yield made
    made.close()


def test_an_entry_has_fields_of_its_own():
    """`journalctl STACKWATCH_JOB=7 -p err` finds it, and people read a sentence."""
    fields = parse_entry(make_entry(PARKED))

    assert "job.parked em1/run_041 (job 7): Slice 12 is missing." == fields["MESSAGE"]
    assert ("3", "stackwatch") == (fields["PRIORITY"], fields["SYSLOG_IDENTIFIER"])
    assert ("7", "em1") == (fields["STACKWATCH_JOB"], fields["STACKWATCH_FOLDER"])
    assert MESSAGE_IDS["job.parked"] == fields["MESSAGE_ID"]
    assert json.loads(fields["STACKWATCH_RECORD"]) == PARKED
    assert "STACKWATCH_LAYER" not in fields


def test_a_value_with_line_breaks_starts_no_field():
    """A traceback, or a file name with a line break, stays one value."""
    event = {"level": "error", "event": "job.failed", "exception": "a\nPRIORITY=0", "at:s": 1}
    fields = parse_entry(make_entry(event))

    assert ("3", "a\nPRIORITY=0") == (fields["PRIORITY"], fields["STACKWATCH_EXCEPTION"])
    assert "job.failed\na\nPRIORITY=0" == fields["MESSAGE"]
    assert "1" == fields["STACKWATCH_AT_S"]


def test_numbers_of_messages_are_stable_and_of_events_we_have():
    """What an operator filters by must not change; each number is given once."""
    events = {str(event) for event in Event}

    assert len(MESSAGE_IDS) == len(set(MESSAGE_IDS.values()))
    assert all(re.fullmatch("[0-9a-f]{32}", number) for number in MESSAGE_IDS.values())
    assert set(MESSAGE_IDS) <= events
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    assert all(number in page for number in MESSAGE_IDS.values())


def test_entries_of_any_size_arrive_in_order(system_journal, outlet):
    """What does not fit into a datagram is handed over as a sealed file."""
    outlet.write(make_entry({"event": "one"}))
    outlet.write(make_entry({"event": "two", "message": "é" * 400_000}))
    outlet.write(make_entry({"event": "three"}))
    found = system_journal.entries()

    assert ["one", "two", "three"] == [entry["STACKWATCH_EVENT"] for entry in found]
    assert 400_000 == len(found[1]["STACKWATCH_MESSAGE"])


def test_a_journal_that_does_not_read_holds_nobody_up(system_journal, outlet):
    """Entries wait in memory up to a limit; the rest is counted, and told afterwards."""
    entry = make_entry({"event": "many", "message": "x" * 10_000})
    count = 0
    while outlet._lost == 0:
        outlet.write(entry)
        count += 1
    assert outlet._size <= WAITING_BYTES_MAX
    found = system_journal.entries()
    while outlet._waiting or outlet._lost:
        outlet.drain()
        found += system_journal.entries()

    assert count == len(found), "one lost, one that tells so"
    assert ("log.lost", "1") == (found[-1]["STACKWATCH_EVENT"], found[-1]["STACKWATCH_LINES"])


def test_a_journal_that_is_started_afresh_gets_what_waited(system_journal, outlet):
    """A refused connection loses nothing."""
    system_journal.sock.close()
    outlet.write(make_entry({"event": "meanwhile"}))
    system_journal.path.unlink()
    outlet.flush(timeout_s=0.05)
    system_journal.sock = Journal(system_journal.path).sock
    outlet.drain()

    assert ["meanwhile"] == [entry["STACKWATCH_EVENT"] for entry in system_journal.entries()]


def test_what_the_kernel_refuses_is_counted_to_the_end(system_journal, outlet, monkeypatch):
    """Refused again and again, the word on what was lost included: the count stays whole."""

    def refuse(_entry: bytes) -> None:
        raise PermissionError

    monkeypatch.setattr(outlet, "_send", refuse)
    for number in range(5):
        outlet.write(make_entry({"event": f"a.{number}"}))
    monkeypatch.undo()
    outlet.drain()

    (entry,) = system_journal.entries()
    assert ("log.lost", "5") == (entry["STACKWATCH_EVENT"], entry["STACKWATCH_LINES"])


def test_a_socket_that_may_not_be_used_is_none(tmp_path):
    """Lines go to stdout then, instead of nowhere."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        with pytest.raises(OSError, match="wrong type"):
            JournalOutlet(tell_lost, str(path))


def test_the_service_speaks_to_the_journal_that_reads_its_stdout(
    system_journal, tmp_path, monkeypatch
):
    """With JOURNAL_STREAM set to stdout, entries go to the socket, and nothing to the stream."""
    monkeypatch.setattr(journal, "SOCKET", str(system_journal.path))
    with (tmp_path / "stdout").open("w", encoding="utf-8") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        configure_logs(stream, never_blocks=True)
        logger(job_id=7).error(Event.JOB_PARKED, message="why")
        configure_logs(stream, "json", never_blocks=True)
        logger(job_id=8).warning(Event.JOB_WAITING)
        drain_logs()
    configure_logs(io.StringIO(), never_blocks=True)
    parked, waiting = system_journal.entries()

    assert ("3", "7") == (parked["PRIORITY"], parked["STACKWATCH_JOB"])
    assert ("4", 8) == (waiting["PRIORITY"], json.loads(waiting["MESSAGE"])["job_id"])
    assert "" == (tmp_path / "stdout").read_text("utf-8")


def test_without_a_socket_lines_carry_their_severity(tmp_path, monkeypatch):
    """A sandbox may hide the socket: then `<3>` before the JSON on stdout."""
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "nowhere"))
    path = tmp_path / "stdout"
    with path.open("w", encoding="utf-8") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        configure_logs(stream, never_blocks=True)
        logger().error(Event.JOB_PARKED)
        drain_logs()
    configure_logs(io.StringIO(), never_blocks=True)

    assert '<3>{"level":"error","event":"job.parked"}\n' == path.read_text("utf-8")


def test_lines_stay_below_the_limit_of_the_journal():
    """The longest values give way, what is filtered by stays, and it is still JSON."""
    event = {**PARKED, "message": "é" * 30_000, "look": {"files": ["x" * 8000] * 50}, "hint": "h"}
    line = make_line(event)
    kept = json.loads(line.removeprefix("<3>"))

    assert len(line.encode()) <= LINE_BYTES_MAX + len("<3>")
    assert ("job.parked", 7, "h") == (kept["event"], kept["job_id"], kept["hint"])
    assert "characters were left out" in kept["look"]


def test_an_event_without_a_sentence_is_its_name():
    """Nothing is invented where an event says nothing."""
    assert "daemon.stopped" == describe_event({"event": "daemon.stopped", "level": "info"})
