"""Kill -9 is a supported way to stop: at every named point, alone, in pairs, and again and again.

Afterwards: the ledger is consistent, exactly one dataset is published for each content, with the
right voxels and known to the ledger, staging is empty and the source untouched. All the time a
reader opens whatever can be seen in the target: never half a dataset.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from stackwatch import testing
from stackwatch.failpoints import EXCHANGE_FAILPOINTS, FAILPOINTS
from stackwatch.model.options import StoreFormat
from stackwatch.readers.wkw import WkwMag
from stackwatch.testing.crashes import (
    Story,
    check_nothing_is_left,
    crash_story,
    play,
    run_into,
    run_to_the_end,
)
from stackwatch.testing.service import STAND_IN, ServiceBench
from stackwatch.testing.visitor import Visitor, open_dataset, open_stand_in

PLAIN = Path(testing.__file__).with_name("plain_worker.py")
PAIRS = list(itertools.product(FAILPOINTS, repeat=2))
SEEDED = random.Random(20)
SOME_PAIRS = SEEDED.sample(PAIRS, 30)
STORMS = [SEEDED.choices(FAILPOINTS, k=3) for _ in range(6)]
REPEATED = (
    "convert.slice_read:3",
    "convert.slice_read:60",
    "convert.slab_written:3",
    "publish.before_rename:1:both",
    "publish.after_rename:1:both",
    "verify.done:1:both",
)
"""At a later passage: in the middle of reading, after the third slab; and with the daemon."""

BETWEEN_DATASETS = (
    "publish.before_rename:1",
    "publish.after_rename:1",
    "publish.after_rename:1:both",
    "ledger.before_publish_commit:1",
    "ledger.after_publish_commit:1",
    "publish.before_rename:2",
    "publish.after_rename:2",
    "ledger.after_publish_commit:2",
)
"""Around the first rename and the second, in the worker, in the daemon, in both."""

REPLACING = tuple(point for point in FAILPOINTS if point.startswith(("publish.", "ledger.")))
FILES = {f"slice_{z}.tif": bytes([z]) * 100 for z in range(3)}


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_a_kill_at_any_point_costs_nothing_but_time(tmp_path, failpoint):
    """C1, D14: the real conversion, killed once at a named point, then started again."""
    kill_a_conversion(tmp_path, failpoint, slices=3)


@pytest.mark.parametrize("failpoint", REPEATED)
def test_a_kill_in_the_middle_or_together_with_the_daemon(tmp_path, failpoint):
    """C1, C11: in mid reading, after some slabs, and worker and daemon at the same moment."""
    kill_a_conversion(tmp_path, failpoint, slices=70)


@pytest.mark.parametrize("failpoint", ["convert.slab_written:2", "publish.after_rename"])
@pytest.mark.system
def test_a_kill_while_wkw_is_written(tmp_path, failpoint):
    """C1: blocks that waited for their cube are gone with the staging; the next start writes it."""
    kill_a_conversion(tmp_path, failpoint, slices=70, store_format="wkw")


def test_a_kill_between_two_datasets_of_one_job(tmp_path):
    """C1: a file with two images, killed before both are published: there is each of them once."""
    stack_zyx = np.arange(6 * 9 * 7, dtype=np.uint16).reshape(6, 9, 7)
    images = {"A": stack_zyx[:4], "B": stack_zyx[4:, :8]}
    stories, targets = [], []
    for number, failpoint in enumerate(BETWEEN_DATASETS):
        service = new_bench(tmp_path / str(number), None)
        targets.append(service.target)
        stories.append(crash_story(service, [failpoint], dropping_images(service, images)))

    with Visitor(targets) as visitor:
        play(stories)

    assert [] == visitor.halves
    for target in targets:
        assert ["run_041_A", "run_041_B"] == sorted(path.name for path in target.iterdir())
        for name, image_zyx in images.items():
            stored = zarr.open_array(target / f"run_041_{name}" / "color" / "1", mode="r")
            np.testing.assert_array_equal(image_zyx.transpose(2, 1, 0), np.asarray(stored[0]))


@pytest.mark.slow
def test_two_kills_one_after_the_other_cost_nothing_but_time(tmp_path):
    """C1: some seeded pairs of points: killed at the first, started, killed at the second."""
    kill_stand_ins(tmp_path, SOME_PAIRS[:8])


@pytest.mark.slow
@pytest.mark.system
def test_more_pairs_of_kills_cost_nothing_but_time(tmp_path):
    """C1: the other pairs of thirty; `make soak` plays all."""
    kill_stand_ins(tmp_path, SOME_PAIRS[8:])


@pytest.mark.slow
@pytest.mark.system
def test_storms_of_kills_cost_nothing_but_time(tmp_path):
    """C1, C12: three kills in a row, before anything could come to an end."""
    kill_stand_ins(tmp_path, STORMS)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_every_pair_of_kills_costs_nothing_but_time(tmp_path):
    """C1: all pairs of points."""
    kill_stand_ins(tmp_path, PAIRS)


@pytest.mark.system
def test_a_kill_while_a_dataset_is_replaced_leaves_the_old_or_the_new(tmp_path):
    """C1, D6: with `on_change = "replace"` a reader sees the old dataset or the new one, whole."""
    stories, targets = [], []
    for failpoint in REPLACING:
        service = new_bench(tmp_path / failpoint, STAND_IN, 'on_change = "replace"')
        targets.append(service.target)
        stories.append(replace_story(service, failpoint))

    with Visitor(targets, open_stand_in) as visitor:
        play(stories)

    assert [] == visitor.halves
    assert 2 * len(REPLACING) <= visitor.visits
    for target in targets:
        assert b"".join(FILES.values()) + b"more" == (target / "run_041" / "data").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", [*EXCHANGE_FAILPOINTS, "publish.after_rename"])
def test_a_kill_between_two_renames_loses_neither_dataset(tmp_path, failpoint):
    """C1, D6: where two datasets cannot change places at once, the new one comes in the end."""
    service = ServiceBench(tmp_path, worker=PLAIN, folder='on_change = "replace"')
    stack_zyx = np.arange(4 * 9 * 7, dtype=np.uint8).reshape(4, 9, 7)

    with Visitor([service.target]) as visitor:
        play([replace_story(service, failpoint, stack_zyx)])

    assert [] == visitor.halves
    stored = zarr.open_array(service.target / "run_041" / "color" / "1", mode="r")
    np.testing.assert_array_equal(stack_zyx.transpose(2, 1, 0), np.asarray(stored[0]))


# ---------------------------------------------------------------- parts


def kill_a_conversion(
    root: Path, failpoint: str, slices: int, store_format: StoreFormat = "zarr3"
) -> None:
    """Play one story with the real conversion, and compare every voxel."""
    service = ServiceBench(root, worker=None, folder=f'format = "{store_format}"')
    stack_zyx = (np.arange(slices * 9 * 7) % 251).astype(np.uint8).reshape(slices, 9, 7)

    with Visitor([service.target]) as visitor:
        play([crash_story(service, [failpoint], lambda: drop_stack(service, stack_zyx))])

    assert ([], ["run_041"]) == (visitor.halves, service.datasets())
    open_dataset(service.target / "run_041")
    mag_1 = service.target / "run_041" / "color" / "1"
    if store_format == "wkw":
        with WkwMag(mag_1) as stored:
            found_zyx = stored.read(range(slices), range(9), range(7))
    else:
        found_zyx = np.asarray(zarr.open_array(mag_1, mode="r")[0]).transpose(2, 1, 0)
    np.testing.assert_array_equal(stack_zyx, found_zyx)


def kill_stand_ins(root: Path, cases: Sequence[Iterable[str]]) -> None:
    """Play stories with the stand-in for the conversion, and compare every byte."""
    stories, targets = [], []
    for number, points in enumerate(cases):
        service = new_bench(root / str(number), STAND_IN)
        targets.append(service.target)
        stories.append(crash_story(service, points, dropping(service, FILES)))

    with Visitor(targets, open_stand_in) as visitor:
        play(stories)

    assert [] == visitor.halves
    for target in targets:
        assert ["run_041"] == [path.name for path in target.iterdir()]
        assert b"".join(FILES.values()) == (target / "run_041" / "data").read_bytes()


def replace_story(
    service: ServiceBench, failpoint: str, stack_zyx: np.ndarray | None = None
) -> Story:
    """Publish, change the acquisition, be killed while the new dataset takes the old place."""
    try:
        place = service.drop / "run_041"
        if stack_zyx is None:
            service.drop_acquisition("run_041", FILES)
        else:
            drop_stack(service, stack_zyx[:-1])
        yield from run_to_the_end(service)
        if stack_zyx is None:
            (place / "slice_3.tif").write_bytes(b"more")
        else:
            tifffile.imwrite(place / f"slice_{len(stack_zyx) - 1}.tif", stack_zyx[-1])
        yield from run_into(service, failpoint, publishes=2, is_sure=True)
        yield from run_to_the_end(service, publishes=2)
        check_nothing_is_left(service)
    finally:
        service.close()


def new_bench(root: Path, worker: Path | None, folder: str = "") -> ServiceBench:
    """Return a bench in a folder of its own."""
    root.mkdir()
    return ServiceBench(root, worker=worker, folder=folder)


def dropping(service: ServiceBench, files: dict[str, bytes]) -> Callable[[], object]:
    """Return what drops these files."""
    return lambda: service.drop_acquisition("run_041", files)


def dropping_images(service: ServiceBench, images: dict[str, np.ndarray]) -> Callable[[], object]:
    """Return what drops an OME-TIFF with several images."""

    def drop() -> None:
        built = service.root / "building"
        built.mkdir()
        with tifffile.TiffWriter(built / "run.ome.tif", ome=True) as writer:
            for name, image_zyx in images.items():
                told = {"axes": "ZYX", "Name": name}
                writer.write(image_zyx, photometric="minisblack", metadata=told)
        built.rename(service.drop / "run_041")

    return drop


def drop_stack(service: ServiceBench, stack_zyx: np.ndarray) -> None:
    """Drop a numbered sequence of TIFFs."""
    built = service.root / "building"
    built.mkdir()
    for z, slice_yx in enumerate(stack_zyx):
        tifffile.imwrite(built / f"slice_{z}.tif", slice_yx)
    built.rename(service.drop / "run_041")
