"""What a rehearsal says of acquisitions that the ledger knows already."""

from pathlib import Path

import pytest

from stackwatch.clock import SystemClock
from stackwatch.daemon.drain import Drain
from stackwatch.daemon.rehearsal import Verdict, rehearse_run
from stackwatch.ledger.reader import LedgerReader
from stackwatch.settings import Settings, load_settings
from stackwatch.testing.service import bench


def ledger_of(state_dir: Path) -> list[str]:
    """Return all that the ledger says of acquisitions and jobs."""
    with LedgerReader.open(state_dir) as reader:
        acquisitions = [str(one.as_record()) for one in reader.list_acquisitions()]
        return [*acquisitions, *(str(one.as_record()) for one in reader.list_jobs())]


@pytest.fixture
def settings(tmp_path: Path):
    """Return the settings of a service that published, parked, and was stopped."""
    with bench(tmp_path) as service:
        for name, files in {
            "kept": {"1.tif": b"1"},
            "touched": {"1.tif": b"2"},
            "gap": {"missing": b"-", "1.tif": b"3"},
        }.items():
            service.drop_acquisition(name, files)
        service.start()
        service.wait_until(lambda: len(service.events("job.succeeded")) == 2)
        service.wait_until(lambda: service.events("job.parked") != [])
        service.drop_acquisition("cut", {"sleep": b"-", "1.tif": b"4"})
        service.wait_until(lambda: len(service.events("job.claimed")) == 4)
        service.stop()
        (service.drop / "touched" / "1.tif").touch()
        service.drop_acquisition("new", {"1.tif": b"no image"})
        yield load_settings(service.config).settings


def test_known_ones_are_told_as_they_are(settings: Settings, tmp_path: Path):
    """Published, parked, touched and new: each has its verdict, and the ledger stays as it was."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = ledger_of(settings.daemon.state_dir)
    said: list[str] = []

    found = rehearse_run(settings, scratch, SystemClock(), Drain(), said.append)

    verdicts = {one.acquisition: one for one in found.acquisitions}
    assert {
        "kept": Verdict.PUBLISHED,
        "touched": Verdict.COMPARE,
        "gap": Verdict.PARKED,
        "cut": Verdict.PARK,
        "new": Verdict.PARK,
    } == {name: one.verdict for name, one in verdicts.items()}
    assert settings.folder[0].target / "kept" == verdicts["kept"].path
    assert "Slice 4 is missing." in verdicts["gap"].reason
    assert found.needs_human
    assert () == found.unavailable
    assert any("Looking into em/new" in sentence for sentence in said)
    assert before == ledger_of(settings.daemon.state_dir)
    assert not (settings.folder[0].target / "new").exists()


def test_a_folder_that_is_away_is_told(tmp_path: Path):
    """Nothing is said of acquisitions that cannot be seen; the folder's reason is."""
    config = tmp_path / "config.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{tmp_path}/state"\n[[folder]]\nname = "em"\n'
        f'path = "{tmp_path}/away"\ntarget = "{tmp_path}/out"\n'
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    found = rehearse_run(
        load_settings(config).settings, scratch, SystemClock(), Drain(), lambda _: None
    )

    assert () == found.acquisitions
    assert ["em"] == [one.folder for one in found.unavailable]
    assert not (tmp_path / "state").exists()
