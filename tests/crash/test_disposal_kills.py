"""Kill -9 while a source is archived or deleted: it is there whole, or where it belongs whole.

At every named point of a disposal, alone and together with the daemon; then the daemon is started
again. Never is a part of an acquisition seen under its name, taken for a change, or lost.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stackwatch.failpoints import DISPOSAL_FAILPOINTS
from stackwatch.ledger.reader import LedgerReader
from stackwatch.pipeline.verify import verify_dataset
from stackwatch.testing.crashes import Story, play, until
from stackwatch.testing.service import ServiceBench

MEMORY = Path("/dev/shm")
SETTINGS = 'on_success_dry_run = false\nretention_h = 0\non_success = "{action}"\n{archive}'
REMOVING = tuple(point for point in DISPOSAL_FAILPOINTS if "remove" in point)
COPYING = tuple(point for point in DISPOSAL_FAILPOINTS if "copy" in point)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on another file system."""
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    made = Path(tempfile.mkdtemp(dir=MEMORY))
    yield made
    shutil.rmtree(made)


def drop_stack(service: ServiceBench) -> dict[str, bytes]:
    """Drop a numbered sequence of TIFFs and junk; return what was dropped."""
    built = service.root / "building"
    built.mkdir()
    for z in range(3):
        tifffile.imwrite(built / f"slice_{z}.tif", np.full((4, 5), z, np.uint8))
    (built / "Thumbs.db").write_bytes(b"junk")
    files = {path.name: path.read_bytes() for path in built.iterdir()}
    built.rename(service.drop / "run")
    return files


def disposal_story(service: ServiceBench, failpoint: str, archive: Path | None) -> Story:
    """Kill at a point, look whether anything is seen in half, start again, and look at the end."""
    try:
        action = "archive" if archive is not None else "delete"
        place = f'archive_to = "{archive}"\n' if archive is not None else ""
        service.write_config(SETTINGS.format(action=action, archive=place))
        files = drop_stack(service)
        service.start(failpoint, is_awaited=False)
        yield from until(service, lambda: was_reached(service, failpoint))
        service.close()
        check_nothing_in_half(service, files, archive)
        done = "source.archived" if archive is not None else "source.deleted"
        service.start(is_awaited=False)
        yield from until(service, lambda: bool(service.events(done)))
        yield from until(service, lambda: service.status() is not None)
        assert service.stop() == 0, service.tail()
        check_the_end(service, files, archive)
    finally:
        service.close()


def was_reached(service: ServiceBench, failpoint: str) -> bool:
    """Tell whether the disposal process died, and the daemon with it or of it."""
    if failpoint.endswith(":both"):
        return not service.is_running()
    return bool(service.events("source.kept"))


def check_nothing_in_half(
    service: ServiceBench, files: dict[str, bytes], archive: Path | None
) -> None:
    """Whatever stands under a name of its own is whole; what is hidden is ours."""
    places = [service.drop / "run", *([archive / "run"] if archive is not None else [])]
    for place in places:
        if place.exists():
            assert files == {path.name: path.read_bytes() for path in place.iterdir()}
    if archive is not None:
        assert any(place.exists() for place in places), "neither here nor there"


def check_the_end(service: ServiceBench, files: dict[str, bytes], archive: Path | None) -> None:
    """One job, one dataset, nothing hidden, no alarm; the archive has everything."""
    assert [] == list(service.drop.iterdir()), service.tail()
    if archive is not None:
        assert ["run"] == [path.name for path in archive.iterdir()]
        assert files == {path.name: path.read_bytes() for path in (archive / "run").iterdir()}
    assert [] == list((service.state_dir / "disposals").iterdir())
    verify_dataset(service.target / "run")
    with LedgerReader.open(service.state_dir) as reader:
        (job,) = reader.list_jobs()
        details = reader.show_job(job.job_id)
    assert details is not None
    assert details.disposal is not None
    wanted = archive / "run" if archive is not None else None
    assert ("done", wanted) == (str(details.disposal.state), details.disposal.archive_path)
    assert [] == service.events("acquisition.vanished")
    assert [] == service.events("acquisition.changed")


def stories(root: Path, points: tuple[str, ...], archive: Path | None) -> Iterator[Story]:
    """Yield a story for each point, every second one with the daemon killed too."""
    for number, point in enumerate(points):
        (root / point).mkdir()
        service = ServiceBench(root / point, worker=None)
        place = archive / point if archive is not None else None
        if place is not None:
            place.mkdir()
        yield disposal_story(service, point + (":1:both" if number % 2 else ""), place)


@pytest.mark.slow
@pytest.mark.system
def test_a_kill_while_a_source_is_deleted_loses_nothing_else(tmp_path):
    """C1, C16: before, in the middle of, and after the removal."""
    play(stories(tmp_path, REMOVING, None))


@pytest.mark.slow
def test_a_kill_while_a_source_is_archived_leaves_one_whole(tmp_path):
    """C1, C17: on the same file system, where archiving is one rename."""
    archive = tmp_path / "archive"
    archive.mkdir()

    play(stories(tmp_path, COPYING, archive))


@pytest.mark.slow
@pytest.mark.system
def test_a_kill_while_a_source_is_copied_to_another_file_system_leaves_one_whole(
    tmp_path, elsewhere
):
    """C1, C17: while copying, between copy and removal, and in the middle of the removal."""
    play(stories(tmp_path, DISPOSAL_FAILPOINTS, elsewhere))
