"""`stackwatch logs`: a journal, a file that is rotated, and the ledger's history."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stackwatch.cli import log_sources
from stackwatch.cli.app import app
from stackwatch.cli.log_sources import add_events, read_file, read_journal
from stackwatch.cli.logs import render

PARKED = {
    "timestamp": "2026-01-01T10:00:00Z", "level": "error", "event": "job.parked", "job_id": 7,
    "folder": "em1", "acquisition": "run_041", "message": "Slice 12 is missing.",
}  # fmt: skip
CLAIMED = {
    "timestamp": "2026-01-01T09:00:00Z", "level": "info", "event": "job.claimed", "job_id": 7,
}  # fmt: skip
OTHER = {**CLAIMED, "job_id": 70}

JOURNALCTL = """#!/bin/sh
printf '%s\\n' "$*" > "$0.asked"
cat "$0.entries"
"""


@pytest.fixture
def journalctl(tmp_path: Path) -> Path:
    """A program that answers as journalctl does, and notes what it was asked."""
    program = tmp_path / "journalctl"
    program.write_text(JOURNALCTL, encoding="utf-8")
    program.chmod(0o755)
    entries: list[dict[str, Any]] = [
        {"__REALTIME_TIMESTAMP": "1767261600000000", "STACKWATCH_RECORD": json.dumps(PARKED)},
        {"__REALTIME_TIMESTAMP": "1767261601000000", "MESSAGE": "Started it.", "PRIORITY": "6"},
        {"__REALTIME_TIMESTAMP": "1767261602000000", "MESSAGE": [102, 255], "PRIORITY": "3"},
        {"__REALTIME_TIMESTAMP": "1767261603000000", "MESSAGE": '{"event":"a.b","level":"info"}'},
    ]
    lines = "\n".join(map(json.dumps, entries))
    (tmp_path / "journalctl.entries").write_text(f"no json\n{lines}\n", encoding="utf-8")
    return program


def test_entries_of_the_journal_are_events_again(journalctl):
    """Ours come whole, systemd's own word too; bytes that are no text do no harm."""
    found = list(read_journal(None, 50, 7, journalctl=str(journalctl)))

    assert [PARKED["event"], "systemd", "systemd", "a.b"] == [line["event"] for line in found]
    assert "2026-01-01T10:00:00Z" == found[0]["timestamp"]
    assert ("Started it.", "error", "f\ufffd") == (
        found[1]["message"], found[2]["level"], found[2]["message"],
    )  # fmt: skip
    asked = journalctl.with_name("journalctl.asked").read_text("utf-8")
    assert "--lines=50" in asked
    assert "SYSLOG_IDENTIFIER=stackwatch + UNIT=stackwatch.service" in asked


def test_strangers_may_write_to_the_journal(journalctl):
    """Whatever stands in our fields, each entry is shown, and none ends the command."""
    odd = [
        {"STACKWATCH_RECORD": "{", "MESSAGE": "a", "PRIORITY": "99"},
        {"STACKWATCH_RECORD": ["{}", "{}"], "MESSAGE": None, "PRIORITY": ["3", "4"]},
        {"STACKWATCH_RECORD": list(json.dumps(PARKED).encode()), "PRIORITY": "3"},
    ]
    journalctl.with_name("journalctl.entries").write_text("\n".join(map(json.dumps, odd)))
    found = list(read_journal(None, 50, 7, journalctl=str(journalctl)))

    assert ["systemd", "systemd", "job.parked"] == [line["event"] for line in found]
    assert ["a", ""] == [line["message"] for line in found[:2]]


def test_names_do_not_command_the_terminal():
    """Control characters of file names are shown, umlauts and signs are left alone."""
    shown = render({**PARKED, "acquisition": "a\x1b[2Jb\x9b\u202e\u00a0é", "hint": "c\x07"})

    assert r"em1/a\x1b[2Jb\x9b\u202e\xa0é (job 7)".replace(r"\xa0", "\xa0") in shown
    assert r"hint: c\x07" in shown


def test_the_journal_is_asked_for_one_job_and_a_severity(journalctl):
    """The journal itself finds the lines, however many there are."""
    list(read_journal(7, 0, 3, journalctl=str(journalctl)))
    asked = journalctl.with_name("journalctl.asked").read_text("utf-8")

    assert "SYSLOG_IDENTIFIER=stackwatch STACKWATCH_JOB=7" in asked
    assert "--priority=3" in asked
    assert "--lines" not in asked


def test_the_newest_lines_of_a_file_that_count(tmp_path):
    """Damaged lines are passed over; the number is of lines that are wanted."""
    path = tmp_path / "log"
    text = "\n".join(map(json.dumps, (CLAIMED, OTHER, PARKED, OTHER)))
    path.write_text(f'{text}\n{{"torn', encoding="utf-8")

    assert [PARKED] == list(read_file(path, lambda line: line["job_id"] == 7, 1))
    assert [CLAIMED, PARKED] == list(read_file(path, lambda line: line["job_id"] == 7, 0))


def test_a_file_is_followed_through_a_rotation(tmp_path, monkeypatch):
    """Lines of the new file come too, none twice, and a line that comes in halves once."""
    monkeypatch.setattr(log_sources, "_POLL_S", 0.01)
    path = tmp_path / "log"
    path.write_text(json.dumps({"n": 0}) + '\n{"n', encoding="utf-8")
    found: Iterator[dict[str, Any]] = read_file(path, lambda _: True, 10, follows=True)
    assert {"n": 0} == next(found)

    def write() -> None:
        with path.open("a", encoding="utf-8") as file:
            for part in ('"', ":1}\n"):
                file.write(part)
                file.flush()
                os.sched_yield()
        path.rename(tmp_path / "log.1")
        path.write_text('{"n":2}\n', encoding="utf-8")

    writer = threading.Thread(target=write)
    writer.start()
    numbers = [next(found)["n"], next(found)["n"]]
    writer.join()
    found.close()  # type: ignore[attr-defined]  # it is a generator

    assert [1, 2] == numbers


def test_the_ledger_fills_what_the_log_has_lost():
    """An event that a line tells of is not shown twice; all are in order of time."""
    merged = add_events(
        [PARKED],
        [
            {"timestamp": "2026-01-01T10:00:01Z", "event": "job.parked"},
            {"timestamp": "2026-01-01T08:00:00Z", "event": "job.queued"},
        ],
    )

    assert ["job.queued", "job.parked"] == [line["event"] for line in merged]


def test_a_line_for_people_has_colour_where_they_look():
    """Errors are red; without a terminal there is no escape sequence."""
    plain = render({**PARKED, "hint": "Copy it."})

    assert "ERROR job.parked em1/run_041 (job 7): Slice 12 is missing." in plain
    assert "hint: Copy it." in plain
    assert "\x1b" not in plain
    assert "\x1b[1;31m" in render(PARKED, has_colour=True)


def test_a_job_is_told_from_the_ledger_where_no_log_is_left(history):
    """The newest comes last; another job's history does not come along."""
    found = history.answer("logs", "--job", "2", "--source", "ledger")

    assert ("ok", "ledger") == (found["status"], found["source"])
    assert ["job.queued", "job.claimed", "job.parked"] == [line["event"] for line in found["lines"]]
    assert "Slice 4 is missing." in found["lines"][-1]["message"]


def test_a_log_file_and_the_ledger_are_one_story(history, tmp_path):
    """`[logs] file` is read where there is no journal, `--raw` gives its lines back."""
    log = tmp_path / "log"
    log.write_text(json.dumps(PARKED) + "\n" + json.dumps(OTHER) + "\n", encoding="utf-8")
    place = ("--set", f"logs.file={log}", "--source", "file")

    assert (
        f"{json.dumps(PARKED, separators=(',', ':'))}\n"
        == history.run("logs", "--raw", "--level", "error", *place).stdout
    )
    events = [line["event"] for line in history.answer("logs", "--job", "2", *place)["lines"]]
    assert ["job.queued", "job.claimed", "job.parked"] == events


@pytest.mark.parametrize(
    "arguments", [("--follow", "--json"), ("--source", "file"), ("--source", "ledger")]
)
def test_what_cannot_be_shown_is_said(history, arguments):
    """A document never ends with `--follow`; without a file there is nothing to read."""
    assert 2 == history.run("logs", *arguments).exit_code


def test_the_live_status_shows_what_needs_a_human_and_why(history):
    """Without a terminal `top` shows the screen once: folders, what is parked, what waits."""
    shown = history.run("top")

    assert 0 == shown.exit_code
    for told in ("does not run", "em1", "NEEDS A HUMAN", "em1/run_2 (job 2)", "Slice 4 is missing.",
                 "WAITS", "1 GiB free", "ARRIVES", "em1/run_9"):  # fmt: skip
        assert told in shown.stdout


def test_the_shell_completes_commands():
    """The script that is printed makes bash complete `stackwatch jo` to `jobs`."""
    script = CliRunner().invoke(app, ["completion", "bash"]).stdout
    told = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p stackwatch"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answered = subprocess.run(
        [Path(sys.executable).with_name("stackwatch")],
        env={**os.environ, "_STACKWATCH_COMPLETE": "complete_bash",
             "COMP_WORDS": "stackwatch jo", "COMP_CWORD": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "-F _stackwatch_completion stackwatch" in told.stdout
    assert ["jobs"] == answered.stdout.split()


def test_the_manual_page_is_one():
    """Every command stands in the page, and the program that shows pages takes it."""
    page = CliRunner().invoke(app, ["manual"]).stdout

    assert '.SS "stackwatch jobs retry"' in page.splitlines()
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff")
    shown = subprocess.run(
        [groff, "-man", "-Kutf8", "-Tutf8", "-ww"],
        input=page, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "" == shown.stderr
    assert "Queue a parked or failed job again." in shown.stdout
