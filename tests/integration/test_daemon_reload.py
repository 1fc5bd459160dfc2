"""New settings for a running daemon, and mistakes of ours that it survives."""

import contextlib
import queue
import shutil
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackwatch.clock import SystemClock
from stackwatch.daemon.history import History
from stackwatch.daemon.recorder import Recorder
from stackwatch.daemon.scanner import ScanSaid
from stackwatch.daemon.watching import Watching
from stackwatch.errors import ConfigError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.job import FolderState
from stackwatch.settings import FolderSettings, Settings
from stackwatch.testing.service import DEADLINE_S, ServiceBench, bench


class Systemd:
    """Listens where systemd would."""

    def __init__(self) -> None:
        self.name = f"@stackwatch-{uuid.uuid4().hex}"
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind("\0" + self.name[1:])
        self._sock.settimeout(DEADLINE_S)

    def receive_until(self, phrase: str) -> list[dict[str, str]]:
        """Return all messages up to the first that holds a phrase, that one too."""
        messages = []
        while True:
            text = self._sock.recv(8192).decode()
            messages.append(dict(line.split("=", 1) for line in text.splitlines()))
            if phrase in text:
                return messages

    def close(self) -> None:
        """Stop listening."""
        self._sock.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceBench]:
    """A bench with its daemon not started yet."""
    with bench(tmp_path) as made:
        yield made


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    """Somebody who listens for notifications."""
    made = Systemd()
    yield made
    made.close()


def state_of(service: ServiceBench, acquisition: str) -> str:
    """Return the state of an acquisition."""
    with LedgerReader.open(service.state_dir) as reader:
        found = [a for a in reader.list_acquisitions() if a.key == acquisition]
    return str(found[0].state) if found else ""


def published(service: ServiceBench) -> list[str]:
    """Return the names of the datasets; the place where we stage is none."""
    return [name for name in service.datasets() if not name.startswith(".")]


def is_converting(service: ServiceBench, *acquisitions: str) -> bool:
    """Tell whether workers have these acquisitions, and no others, in their hands."""
    status = service.status() or {"converting": []}
    return set(acquisitions) == {j["acquisition"] for j in status["converting"] if j["pid"]}


def test_bad_settings_are_refused_in_the_log_the_status_and_the_answer(service, systemd):
    """C14: whatever is wrong with the file, the old settings stay in force and everybody is told.

    Each reload is announced with its monotonic time in one datagram, and ends with READY.
    """
    service.start(environment={"NOTIFY_SOCKET": systemd.name})
    systemd.receive_until("READY=1")
    good = service.config.read_text()
    mistakes: list[tuple[Any, tuple[str, ...]]] = [
        ("[daemon", ("line 1",)),
        (good + "quiet_gapp_s = 1\nworkers = 2\n", ("quiet_gap_s", "belongs under [daemon]")),
        (good.replace("0.2", "-1"), ("quiet_gap_s must be > 0",)),
        (good.replace(str(service.target), f"{service.drop}/out"), ("must not lie inside",)),
        (None, ("config.toml",)),
    ]
    for number, (text, phrases) in enumerate(mistakes):
        service.config.unlink() if text is None else service.config.write_text(text)
        with pytest.raises(ConfigError) as caught:
            service.ask("reload")

        assert len(phrases) <= len(caught.value.values["problems"])
        assert all(phrase in caught.value.message for phrase in phrases), caught.value.message
        begun, *_, ended = systemd.receive_until("READY=1")
        assert {"RELOADING", "MONOTONIC_USEC"} == {*begun} - {"STATUS"} or "STATUS" in begun
        assert "refused" in ended["STATUS"]
        assert number + 1 == len(service.events("settings.refused"))

    service.write_config()
    assert "reloaded" == service.ask("reload")["status"]
    *_, ended = systemd.receive_until("READY=1")
    assert "settings reloaded" == ended["STATUS"]
    service.drop_acquisition("after", {"1.tif": b"1"})
    service.wait_until(lambda: published(service) == ["after"])


def test_a_reload_is_one_datagram_with_its_time(service, systemd):
    """C14: RELOADING and MONOTONIC_USEC come together, or systemd waits for minutes."""
    service.start(environment={"NOTIFY_SOCKET": systemd.name})
    systemd.receive_until("READY=1")

    service.ask("reload")

    messages = systemd.receive_until("READY=1")
    (begun,) = [message for message in messages if "RELOADING" in message]
    assert "1" == begun["RELOADING"]
    assert int(begun["MONOTONIC_USEC"]) > 0


def test_a_folder_that_is_not_there_is_taken_and_waited_for(service):
    """C14: a missing drop folder is a state, not a mistake; a folder taken out is left alone."""
    service.start()
    away = service.root / "away"
    more = f'[[folder]]\nname = "away"\npath = "{away}"\ntarget = "{service.target}"\n'
    service.write_config(f"{more}quiet_gap_s = 0.2\nscan_interval_s = 0.2")

    assert ["away"] == service.ask("reload")["added"]
    service.wait_until(lambda: service.events("folder.unavailable") != [])
    (away / "late").mkdir(parents=True)
    (away / "late" / "1.tif").write_bytes(b"1")
    service.wait_until(lambda: published(service) == ["late"])

    service.write_config()
    assert ["away"] == service.ask("reload")["removed"]
    with LedgerReader.open(service.state_dir) as reader:
        folders = {folder.name: folder.is_configured for folder in reader.list_folders()}
    assert {"em": True, "away": False} == folders


def test_more_workers_begin_at_once_and_running_jobs_keep_their_settings(service):
    """C14: `workers` counts from now on; what was begun is finished as it was begun."""
    service.start()
    for name in ("one", "two"):
        service.drop_acquisition(name, {"pause": b"-", "1.tif": b"1"})
    service.wait_until(lambda: is_converting(service, "one") or is_converting(service, "two"))
    begun = "one" if is_converting(service, "one") else "two"
    other = "two" if begun == "one" else "one"
    elsewhere = service.root / "elsewhere"
    elsewhere.mkdir()
    service.write_config(daemon="workers = 2")
    text = service.config.read_text()
    service.config.write_text(text.replace(str(service.target), str(elsewhere)))

    service.ask("reload")

    service.wait_until(lambda: is_converting(service, "one", "two"))
    (service.root / "go").touch()
    service.wait_until(lambda: state_of(service, "one") == state_of(service, "two") == "published")
    assert [begun] == [path.name for path in service.target.iterdir() if path.name[0] != "."]
    assert [other] == [path.name for path in elsewhere.iterdir() if path.name[0] != "."]


@pytest.mark.parametrize("is_copied", [False, True])
@pytest.mark.system
def test_a_folder_under_another_path_keeps_its_acquisitions(service, is_copied):
    """D11: the folder is its name; the same content under another path is not converted again."""
    service.write_config("scan_interval_s = 0.2")
    service.drop_acquisition("kept", {"1.tif": b"1"})
    service.drop_acquisition("gone", {"1.tif": b"2"})
    service.start()
    service.wait_until(lambda: published(service) == ["gone", "kept"])
    service.wait_until(
        lambda: state_of(service, "gone") == state_of(service, "kept") == "published"
    )
    moved = service.root / "moved"
    shutil.copytree(service.drop, moved) if is_copied else service.drop.rename(moved)
    shutil.rmtree(moved / "gone")
    service.config.write_text(service.config.read_text().replace(str(service.drop), str(moved)))
    scans = len(service.events("scan.finished"))

    assert ["em"] == service.ask("reload")["changed"]

    service.wait_until(lambda: service.events("acquisition.vanished") != [])
    service.wait_until(lambda: len(service.events("scan.finished")) > scans + 3)
    service.wait_until(lambda: state_of(service, "kept") == "published")
    (moved / "new").mkdir()
    (moved / "new" / "1.tif").write_bytes(b"3")
    service.wait_until(lambda: "new" in published(service))
    assert ["gone", "kept", "new"] == published(service)
    (vanished,) = service.events("acquisition.vanished")
    assert "gone" == vanished["acquisition"]


def test_logs_are_switched(service):
    """C14: level and file of the log change with the settings; a lost file harms nobody."""
    service.start()
    copy = service.root / "copy.jsonl"
    text = service.config.read_text()
    service.config.write_text(f'{text}[logs]\nlevel = "info"\nformat = "json"\nfile = "{copy}"\n')
    service.ask("reload")
    service.wait_until(copy.exists)
    service.config.write_text(
        f'{text}[logs]\nlevel = "info"\nformat = "json"\nfile = "{service.root}/no/where"\n'
    )
    service.ask("reload")

    service.drop_acquisition("after", {"1.tif": b"1"})
    service.wait_until(lambda: service.events("job.succeeded") != [])


# ---------------------------------------------------------------- mistakes of ours


def settings_for(root: Path) -> Settings:
    """Return two polled folders, each with an acquisition."""
    folders = []
    for name in ("broken", "sound"):
        (root / name / "run_1").mkdir(parents=True)
        (root / name / "run_1" / "1.tif").write_bytes(b"1")
        folders.append(
            FolderSettings(
                name=name, path=root / name, target=root / "out", watch="poll", quiet_gap_s=60,
                scan_interval_s=0.1,
            )
        )  # fmt: skip
    return Settings(folder=tuple(folders))


def test_a_mistake_in_one_folder_leaves_the_others_alone(tmp_path, monkeypatch):
    """An exception nobody expected makes one folder unavailable; the other goes on."""
    carry_out = Recorder.carry_out

    def fail_once(recorder: Recorder, folder: Any, *rest: Any) -> None:
        if folder.name == "broken" and not failed:
            failed.append(folder.name)
            raise ZeroDivisionError("a mistake of ours")
        carry_out(recorder, folder, *rest)

    failed: list[str] = []
    monkeypatch.setattr(Recorder, "carry_out", fail_once)
    inbox: queue.Queue[Any] = queue.Queue()
    seen: dict[str, set[FolderState]] = {"broken": set(), "sound": set()}
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger.open(tmp_path / "state"))
        history = History.open(tmp_path / "state")
        stack.callback(history.close)
        recorder = Recorder(ledger, history, inbox.put, ())
        watching = Watching(ledger, recorder, SystemClock(), inbox.put, threading.Event())
        watching.adopt(settings_for(tmp_path))
        while not (
            FolderState.UNAVAILABLE in seen["broken"] and FolderState.POLLING in seen["broken"]
        ):
            watching.tick()
            with contextlib.suppress(queue.Empty):
                message = inbox.get(timeout=0.05)
                if isinstance(message, ScanSaid):
                    watching.take(message)
                    for folder in watching.folders:
                        if folder.view.scanned_s is not None:
                            seen[folder.name].add(folder.state)
                    if FolderState.UNAVAILABLE in seen["broken"] and not recovered(ledger):
                        seen["broken"].discard(FolderState.POLLING)
        watching.close()
        while not watching.is_closed:
            watching.discard(inbox.get(timeout=DEADLINE_S))

    assert {FolderState.POLLING} == seen["sound"]


def recovered(ledger: Ledger) -> bool:
    """Tell whether the acquisition of the broken folder came into the ledger after all."""
    return "run_1" in ledger.folders.facts("broken")
