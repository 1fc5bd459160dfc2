"""The daemon and what speaks against an acquisition being complete: real files, real programs."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackwatch.errors import StackwatchError, UsageError
from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import AcquisitionRecord
from stackwatch.testing.service import ServiceBench, bench

MARKED = 'marker = "*.done"\nquiet_gap_s = 0.2\nscan_interval_s = 1\n'


def found(service: ServiceBench, key: str) -> AcquisitionRecord | None:
    """Return what the ledger knows of an acquisition."""
    with LedgerReader.open(service.state_dir) as reader:
        return next((a for a in reader.list_acquisitions() if a.key == key), None)


def await_state(service: ServiceBench, key: str, *states: str) -> None:
    """Wait until an acquisition is in one of these states."""

    def is_there() -> bool:
        acquisition = found(service, key)
        return acquisition is not None and str(acquisition.state) in states

    service.wait_until(is_there)


def explain(service: ServiceBench, key: str) -> dict[str, Any]:
    """Ask the daemon what it knows of an acquisition."""
    return service.ask("explain", path=str(service.drop / key))


def await_veto(service: ServiceBench, key: str, kind: str) -> dict[str, Any]:
    """Wait until something of this kind speaks against an acquisition."""
    service.wait_until(lambda: kind in explain(service, key).get("veto_kinds", []))
    return explain(service, key)


def look_often(service: ServiceBench, times: int = 3) -> None:
    """Let the daemon look at its folder so often."""
    for _ in range(times):
        before = service.status()
        assert before is not None
        stamp = before["folders"][0]["scanned_at_us"]
        service.ask("rescan", folder="em")
        service.wait_until(_is_scanned_after(service, stamp))


def _is_scanned_after(service: ServiceBench, stamp: int) -> Callable[[], bool]:
    def is_scanned() -> bool:
        status = service.status()
        return status is not None and status["folders"][0]["scanned_at_us"] > stamp

    return is_scanned


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory):
    """One running daemon without a marker."""
    with bench(tmp_path_factory.mktemp("plain")) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory):
    """One running daemon that waits for markers."""
    with bench(tmp_path_factory.mktemp("marked")) as made:
        text = made.config.read_text("utf-8").replace("quiet_gap_s = 0.2\n", MARKED)
        made.config.write_text(text, "utf-8")
        made.start()
        yield made


def test_a_file_held_open_is_waited_for(plain: ServiceBench):
    """E1, E8: nothing is made of an acquisition while a program has its file open for writing."""
    writer = plain.root / "half.tif"
    writer.write_bytes(b"first")
    with writer.open("ab") as file:
        run = plain.drop / "open_run"
        run.mkdir()
        writer.rename(run / "half.tif")
        told = await_veto(plain, "open_run", "open")
        look_often(plain)
        assert found(plain, "open_run").state == "settling"  # type: ignore[union-attr]
        assert told["ready_s"] is None
        assert f"pid {os.getpid()}" in told["vetoes"][0]
        file.write(b" and last")

    await_state(plain, "open_run", "published")
    assert b"first and last" == (plain.target / "open_run" / "data").read_bytes()


def test_an_unfinished_transfer_is_waited_for(plain: ServiceBench):
    """E3: with rsync's name in it an acquisition is not whole; the rename makes it so."""
    run = plain.drop_acquisition("rsync_run", {"a.tif": b"1", ".b.tif.Ab12Cd": b"2"})
    await_veto(plain, "rsync_run", "temporary")
    look_often(plain)
    assert not (plain.target / "rsync_run").exists()

    (run / ".b.tif.Ab12Cd").rename(run / "b.tif")

    await_state(plain, "rsync_run", "published")
    assert b"12" == (plain.target / "rsync_run" / "data").read_bytes()


def test_a_sparse_file_passes_in_the_end(plain: ServiceBench):
    """E2: a hole holds back for ten gaps of rest; then it is taken for meant so."""
    run = plain.root / "sparse"
    run.mkdir()
    with (run / "a.tif").open("wb") as file:
        file.write(b"x")
        file.truncate(1 << 20)
    run.rename(plain.drop / "sparse")
    await_veto(plain, "sparse", "hole")

    await_state(plain, "sparse", "published")


def test_the_marker_comes_last(marked: ServiceBench):
    """E9, E10: a marker with numbers is believed when they are true; it is no data itself."""
    run = marked.drop_acquisition("late_run", {"run.json": b"{}", "1.tif": b"1"})
    await_veto(marked, "late_run", "marker")
    (run / "run.done").write_text(json.dumps({"status": "success", "files": 3}))
    marked.wait_until(lambda: "tells of 3 files" in "".join(explain(marked, "late_run")["vetoes"]))
    assert not (marked.target / "late_run").exists()

    (run / "2.tif").write_bytes(b"2")

    await_state(marked, "late_run", "published")
    assert ["late_run"] == [a.key for a in _all(marked) if a.key.startswith("late")]
    assert 3 == found(marked, "late_run").files  # type: ignore[union-attr]


def test_a_marker_beside_a_loose_file(marked: ServiceBench):
    """A loose file waits for the marker of its name, which is no acquisition of its own."""
    (marked.drop / "solo.tif").write_bytes(b"solo")
    await_veto(marked, "solo.tif", "marker")
    assert "`solo.done`" in explain(marked, "solo.tif")["vetoes"][0]

    (marked.drop / "solo.done").touch()

    await_state(marked, "solo.tif", "published")
    assert ["solo.tif"] == [a.key for a in _all(marked) if a.key.startswith("solo")]


def test_an_aborted_run_waits_for_a_person(marked: ServiceBench):
    """An abort is reported at once, with what to do; accepting converts what is there."""
    run = marked.drop_acquisition("aborted_run", {"1.tif": b"1"})
    (run / "run.done").write_text('{"status": "aborted"}')
    await_state(marked, "aborted_run", "incomplete")
    (line,) = [e for e in marked.events("acquisition.incomplete") if "aborted" in e["acquisition"]]
    assert "was aborted" in line["reason"]
    assert "stackwatch jobs accept aborted_run" in line["hint"]

    marked.ask("accept", path=str(run))

    await_state(marked, "aborted_run", "published")


def test_forgetting_lasts_until_a_change(marked: ServiceBench):
    """What is forgotten is ignored at every look, and taken up again when it changes."""
    run = marked.drop_acquisition("forgotten", {"1.tif": b"1"})
    await_veto(marked, "forgotten", "marker")
    marked.ask("forget", path=str(run))
    (run / "run.done").touch()
    look_often(marked)
    assert found(marked, "forgotten").state == "ignored"  # type: ignore[union-attr]

    (run / "2.tif").write_bytes(b"2")

    await_state(marked, "forgotten", "published")


def test_a_sidecar_that_wants_to_be_skipped(plain: ServiceBench):
    """`skip = true` makes no job; taking it out brings the acquisition back."""
    run = plain.drop_acquisition("private", {"1.tif": b"1", "stackwatch.toml": b"skip = true\n"})
    await_state(plain, "private", "ignored")
    assert not plain.events("job.queued") or all(
        event["acquisition"] != "private" for event in plain.events("job.queued")
    )

    (run / "stackwatch.toml").write_text("priority = 1\n", "utf-8")

    await_state(plain, "private", "published")


def test_a_set_that_lacks_a_file_is_incomplete(plain: ServiceBench):
    """L16: what its own metadata miss is told, cannot be accepted, and resumes with the file."""
    run = plain.drop_acquisition("set", {"lacking": b"-", "1.tif": b"1"})
    await_state(plain, "set", "incomplete")
    look_often(plain)
    assert found(plain, "set").state == "incomplete"  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="not there"):
        plain.ask("accept", path=str(run))

    (run / "slice").write_bytes(b"2")

    await_state(plain, "set", "published")
    assert not (plain.target / "set-r2").exists()


def test_a_start_while_a_writer_is_busy(tmp_path: Path):
    """E12: what lies there at the start settles like anything else, and from our own clock."""
    with bench(tmp_path) as service:
        run = service.drop_acquisition("early", {"1.tif": b"1"})
        os.utime(run / "1.tif", (1_000_000_000, 1_000_000_000))
        with (run / "2.tif").open("wb") as file:
            service.start()
            await_veto(service, "early", "open")
            look_often(service)
            assert not (service.target / "early").exists()
            file.write(b"2")
        await_state(service, "early", "published")

        assert b"12" == (service.target / "early" / "data").read_bytes()


def test_commands_about_nothing(plain: ServiceBench):
    """A path outside of every drop folder, or where nothing lies, is refused with a hint."""
    for command, path in (("explain", "/nowhere/x"), ("accept", str(plain.drop / "none"))):
        with pytest.raises(StackwatchError) as caught:
            plain.ask(command, path=path)
        assert caught.value.hint


def _all(service: ServiceBench) -> list[AcquisitionRecord]:
    with LedgerReader.open(service.state_dir) as reader:
        return list(reader.list_acquisitions())
