"""A drop folder that goes away: it is `unavailable`, and nothing else follows from that."""

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.job import AcquisitionState, FolderState
from stackwatch.testing.service import ServiceBench, bench

STATES = {
    "published": {"1.tif": b"1"},
    "parked": {"missing": b"x"},
    "waiting": {"full": b"x"},
    "settling": {"1.tif": b"1", "2.tif.part": b"2"},
    "converting": {"sleep": b"x"},
}
"""An acquisition in each state that lasts, and the files that bring it there."""


@pytest.fixture
def service(tmp_path: Path):
    """A running daemon with a second folder that stays where it is."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other-target").mkdir()
    lines = (
        f'reserve_gib = 0\nscan_interval_s = 0.2\n[[folder]]\nname = "other"\n'
        f'path = "{tmp_path / "other"}"\ntarget = "{tmp_path / "other-target"}"\n'
        "quiet_gap_s = 0.2\nreserve_gib = 0\nvoxel_size_nm = [1, 1, 1]"
    )
    with bench(tmp_path, folder=lines, daemon="workers = 3") as made:
        (tmp_path / "full").touch()
        made.start()
        yield made


def facts_of(service: ServiceBench) -> list[tuple[object, ...]]:
    """Return all that the ledger knows of what lies in the first folder."""
    path = service.state_dir / "ledger.db"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found = connection.execute(
            "SELECT a.key, a.state, a.generation, a.stat_mark, a.vanished_at_us FROM acquisitions a"
            " JOIN folders f ON f.id = a.folder_id WHERE f.name = 'em' ORDER BY a.key"
        ).fetchall()
        jobs = "SELECT folder, key, state, attempt FROM job_facts WHERE folder = 'em' ORDER BY id"
        found += connection.execute(jobs).fetchall()
        datasets = "SELECT path, state, run_id FROM dataset_facts WHERE folder = 'em' ORDER BY id"
        return found + connection.execute(datasets).fetchall()
    finally:
        connection.close()


def states_of(service: ServiceBench, folder: str) -> dict[str, AcquisitionState]:
    """Return the state of each acquisition of a folder."""
    with LedgerReader.open(service.state_dir) as reader:
        return {one.key: one.state for one in reader.list_acquisitions(folder)}


def folder_state(service: ServiceBench) -> FolderState:
    """Return the state of the first folder."""
    with LedgerReader.open(service.state_dir) as reader:
        return next(one.state for one in reader.list_folders() if one.name == "em")


def test_an_unavailable_folder_changes_nothing_but_its_own_state(service):
    """I6, L9: gone, or a file in its place: states, jobs and datasets stay; other folders go on."""
    for name, files in STATES.items():
        service.drop_acquisition(name, files)
    expected = {name: AcquisitionState(name) for name in STATES}
    service.wait_until(lambda: expected == states_of(service, "em"))
    before = facts_of(service)
    away = service.root / "away"
    outages: list[Callable[[], object]] = [lambda: None, service.drop.touch]
    random.Random(3).shuffle(outages)

    for number, put_in_its_place in enumerate(outages):
        service.drop.rename(away)
        put_in_its_place()
        service.wait_until(lambda: folder_state(service) is FolderState.UNAVAILABLE)
        place = service.root / "other" / f"run_{'ab'[number]}"
        (service.root / f"building-{number}").mkdir()
        (service.root / f"building-{number}" / "1.tif").write_bytes(b"other")
        (service.root / f"building-{number}").rename(place)
        published = lambda place=place: (  # noqa: E731
            states_of(service, "other").get(place.name) is AcquisitionState.PUBLISHED
        )
        service.wait_until(published)

        assert before == facts_of(service)

        service.drop.unlink(missing_ok=True)
        away.rename(service.drop)
        service.wait_until(lambda: folder_state(service) is not FolderState.UNAVAILABLE)
        service.ask("rescan", folder="em")
        assert before == facts_of(service)

    assert [] == service.events("acquisition.vanished")
    assert 2 == len(service.events("folder.recovered"))
