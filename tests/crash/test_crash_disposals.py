"""Kill -9 while a source is archived or deleted: never half of it, and never both copies gone."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stackwatch.failpoints import DISPOSAL_FAILPOINTS
from stackwatch.testing.crashes import Story, check_nothing_is_left, play, until
from stackwatch.testing.service import ServiceBench
from stackwatch.testing.visitor import open_dataset

OTHER_DISK = Path("/dev/shm")
REMOVING = tuple(point for point in DISPOSAL_FAILPOINTS if "remove" in point)
FILES = ["slice_0.tif", "slice_1.tif"]


@pytest.mark.slow
def test_a_kill_while_deleting_leaves_no_half_acquisition(tmp_path):
    """C16, C1: killed at each point of a deletion, it is taken up and brought to its end."""
    stories = []
    for point in REMOVING:
        service = new_bench(tmp_path / point, 'on_success = "delete"')
        stories.append(disposal_story(service, point, "source.deleted", lambda: None))

    play(stories, at_once=8)


@pytest.mark.slow
def test_a_kill_while_archiving_to_another_disk_loses_no_file(tmp_path, request):
    """C17, C1: killed at each point of a copy to another file system; there is one whole copy."""
    if not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip(f"no second file system: {OTHER_DISK} is not there, or the same as {tmp_path}")
    archives = []
    stories = []
    for point in DISPOSAL_FAILPOINTS:
        archive = OTHER_DISK / f"stackwatch-archive-{os.getpid()}-{point}"
        archive.mkdir()
        request.addfinalizer(lambda archive=archive: remove_tree(archive))
        archives.append(archive)
        lines = f'on_success = "archive"\narchive_to = "{archive}"'
        service = new_bench(tmp_path / point, lines)
        expected = pictures()
        check = partial(check_archive, archive / "run_041", expected)
        stories.append(disposal_story(service, point, "source.archived", check))

    play(stories, at_once=8)


def disposal_story(
    service: ServiceBench, point: str, event: str, check: Callable[[], None]
) -> Story:
    """Publish, be killed with the process that disposes, and run until it is done."""
    try:
        built = service.root / "building"
        built.mkdir()
        for name, data in pictures().items():
            tifffile.imwrite(built / name, data)
        built.rename(service.drop / "run_041")
        service.start(f"{point}:1:both", is_awaited=False)
        yield from until(service, lambda: not service.is_running())
        service.close()
        assert [] == service.events(event), f"{point} was not reached"
        service.start(is_awaited=False)
        yield from until(service, lambda: len(service.events(event)) > 0)
        assert 0 == service.stop()
        assert [] == [path.name for path in service.drop.iterdir()], service.tail()
        check()
        check_nothing_is_left(service)
        open_dataset(service.target / "run_041")
    finally:
        service.close()


def pictures() -> dict[str, np.ndarray]:
    """Return the slices of an acquisition."""
    return {name: np.full((5, 7), z, np.uint8) for z, name in enumerate(FILES)}


def check_archive(archived: Path, expected: dict[str, np.ndarray]) -> None:
    """Compare an archived acquisition with what was dropped."""
    assert FILES == sorted(path.name for path in archived.iterdir())
    for name, data in expected.items():
        np.testing.assert_array_equal(data, tifffile.imread(archived / name))
    assert ["run_041"] == [path.name for path in archived.parent.iterdir()]


def new_bench(root: Path, folder: str) -> ServiceBench:
    """Return a bench that disposes at once."""
    root.mkdir()
    lines = f"{folder}\nretention_h = 0\non_success_dry_run = false"
    return ServiceBench(root, worker=None, folder=lines)


def remove_tree(folder: Path) -> None:
    """Remove a folder and everything below."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
