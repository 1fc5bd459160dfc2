"""Log lines are strict JSON, whatever they hold and whoever reads them."""

import ast
import io
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from stackwatch.logs import KEYS, Event, configure_logs, flush_logs, logger

SOURCE = Path(__file__).parents[2] / "src" / "stackwatch"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class BrokenPipe(io.StringIO):
    """A stream whose reader has gone away."""

    def write(self, text: str) -> int:
        """Fail as the system does."""
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def restored_logs() -> Iterator[None]:
    """Take the warnings back from the logs, and close their file, after each test."""
    with warnings.catch_warnings():
        yield
        configure_logs(io.StringIO())
        logging.captureWarnings(capture=False)


def refuse_constant(name: str) -> Any:
    """Refuse what Python reads and JSON does not know."""
    raise AssertionError(f"{name} is not JSON")


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return the events on a stream, read as strict JSON."""
    return [
        json.loads(line, parse_constant=refuse_constant) for line in stream.getvalue().splitlines()
    ]


def test_lines_are_json_where_nobody_sits():
    """Off a terminal each event is one JSON object, what matters first."""
    stream = io.StringIO()
    configure_logs(stream)
    logger(job_id=7).info(Event.JOB_QUEUED, folder="em1")
    (line,) = lines_of(stream)

    assert ["timestamp", "level", "event", "job_id", "folder"] == list(line)
    assert ("info", "job.queued", 7, "em1") == (
        line["level"], line["event"], line["job_id"], line["folder"],
    )  # fmt: skip


def test_a_terminal_gets_readable_lines(monkeypatch: pytest.MonkeyPatch):
    """On a terminal the same event is a line for people, without colour where NO_COLOR is set."""
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    configure_logs(stream)
    logger().info(Event.JOB_QUEUED, folder="em1")

    assert "job.queued" in stream.getvalue()
    assert "folder=em1" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_the_format_can_be_chosen(log_format: Any):
    """`json` and `console` hold whatever the stream is."""
    stream = Terminal() if log_format == "json" else io.StringIO()
    configure_logs(stream, log_format)
    logger().info(Event.JOB_QUEUED)

    assert stream.getvalue().startswith("{") == (log_format == "json")


def test_names_that_are_no_text_stay_strict_json():
    """Undecodable file names, NaN, bytes and foreign objects never break a line."""
    stream = io.StringIO()
    configure_logs(stream)
    logger().info(
        Event.ACQUISITION_SEEN,
        path="bad\udcff.tif",
        message={"k\udc80": {1, 2}, "nan": float("nan"), "raw": b"\xff", "where": Path("/x")},
        reason="two\nlines \x1b[31m",
    )
    (line,) = lines_of(stream)

    assert line["path"] == "bad\\xff.tif"
    assert {"k\\x80": [1, 2], "nan": "nan", "raw": "b'\\xff'", "where": "/x"} == line["message"]
    stream.getvalue().encode("utf-8")


def test_long_values_are_cut():
    """No line grows beyond what the journal takes: long texts and lists are cut and say so."""
    stream = io.StringIO()
    configure_logs(stream)
    logger().info(Event.ACQUISITION_SEEN, message="x" * 100_000, path=[str(n) for n in range(1000)])
    (line,) = lines_of(stream)

    assert len(stream.getvalue()) < 20_000
    assert line["path"][-1] == "… and 950 more"


def test_levels_filter():
    """Lines below the level are not written."""
    stream = io.StringIO()
    configure_logs(stream, level="warning")
    logger().info(Event.JOB_QUEUED)
    logger().warning(Event.WATCH_DEGRADED)

    assert ["watch.degraded"] == [line["event"] for line in lines_of(stream)]


def test_a_reader_that_went_away_does_no_harm():
    """A broken pipe or a closed stream never stops the program."""
    closed = io.StringIO()
    closed.close()
    for stream in (BrokenPipe(), closed):
        configure_logs(stream)
        logger().info(Event.JOB_QUEUED)


def test_the_file_gets_every_line_and_may_be_rotated(tmp_path: Path):
    """The file copy is JSON even beside a terminal; after a rename a new file is begun."""
    path = tmp_path / "log.jsonl"
    configure_logs(Terminal(), file=path)
    logger().info(Event.JOB_QUEUED)
    flush_logs()
    path.rename(tmp_path / "log.jsonl.1")
    logger().info(Event.JOB_CLAIMED)
    flush_logs()

    assert "job.queued" == json.loads((tmp_path / "log.jsonl.1").read_text("utf-8"))["event"]
    assert "job.claimed" == json.loads(path.read_text("utf-8"))["event"]


def test_a_file_that_cannot_be_written_does_no_harm(tmp_path: Path):
    """The stream still gets the line."""
    stream = io.StringIO()
    configure_logs(stream, file=tmp_path / "missing" / "log")
    logger().info(Event.JOB_QUEUED)
    flush_logs()

    assert len(lines_of(stream)) == 1


def test_the_journal_keeps_its_own_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A stream that is the journal gets severity and no timestamp; the file beside it does."""
    path = tmp_path / "journal"
    with path.open("w", encoding="utf-8") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        configure_logs(stream, file=tmp_path / "copy")
        logger().info(Event.JOB_QUEUED)
        flush_logs()

    written = path.read_text("utf-8")
    assert "<6>" == written[:3]
    assert ["level", "event"] == list(json.loads(written[3:]))
    assert "timestamp" in json.loads((tmp_path / "copy").read_text("utf-8"))


def test_libraries_speak_through_us():
    """Warnings and log records of libraries become events; their debug chatter does not."""
    stream = io.StringIO()
    configure_logs(stream)
    logging.getLogger("tifffile").warning("odd tag %s", 700)
    logging.getLogger("tifffile").info("chatter")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", UserWarning, stacklevel=1)
    first, second = lines_of(stream)

    assert ("library.warned", "tifffile", "odd tag 700") == (
        first["event"], first["logger"], first["message"],
    )  # fmt: skip
    assert "old" in second["message"]


def test_exceptions_are_one_line():
    """A traceback is a value of its line, not lines of its own."""
    stream = io.StringIO()
    configure_logs(stream)
    try:
        raise ValueError("inner")
    except ValueError:
        logger().exception(Event.JOB_FAILED)
    (line,) = lines_of(stream)

    assert "ValueError: inner" in line["exception"]
    assert line["level"] == "error"


def test_events_can_be_captured():
    """Tests of other floors see events by their names."""
    with capture_logs() as lines:
        logger().info(Event.JOB_QUEUED, job_id=1)

    assert [{"event": "job.queued", "job_id": 1, "log_level": "info"}] == lines


def test_events_are_noun_and_past_participle():
    """Event names are stable, lower case, `noun.past_participle`."""
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+", event) for event in Event)
    assert len(set(Event)) == len(Event)


def test_keys_come_from_one_list():
    """Every key that our code logs stands in the list."""
    keys = {key for path in SOURCE.rglob("*.py") for key in logged_keys(path)}

    assert {"message"} <= keys, "no call was found at all"
    assert not keys - KEYS


def is_event(node: ast.expr) -> bool:
    """Tell whether an expression is one of our events."""
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Event"
    )


def logged_keys(path: Path) -> Iterator[str]:
    """Yield the keywords of each call whose first argument is one of our events."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if "Event." in text else ():
        if isinstance(node, ast.Call) and node.args and is_event(node.args[0]):
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)
