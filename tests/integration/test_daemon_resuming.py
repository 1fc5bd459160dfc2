"""A service that ends in the middle of a conversion: the next start goes on from its ranges."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr

from stackwatch.testing.crashes import check_nothing_is_left, has_succeeded
from stackwatch.testing.service import ServiceBench
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer

STACK = SyntheticLayer(shape_zyx=(192, 500, 500), content="em")
FLAGS = 'executor = "processes"\nprocesses = 2\nthreads = 2\nstop_timeout_s = 20'


@pytest.fixture
def service(tmp_path: Path):
    """Return a bench that converts with two processes; shallow ranges."""
    made = ServiceBench(tmp_path, worker=None, daemon=FLAGS, folder="max_mag = 2")
    config = made.config.read_text()
    made.config.write_text(config.replace("memory_gib = 0.5", "memory_gib = 2"))
    yield made
    made.close()


def drop(service: ServiceBench) -> None:
    """Put a stack into the drop folder that takes a while."""
    SyntheticAcquisition((STACK,)).write(service.root / "building")
    (service.root / "building").rename(service.drop / "run_041")


def receipts(service: ServiceBench) -> dict[Path, int]:
    """Return the receipts in staging with their inodes."""
    found = service.target.glob(".stackwatch/*/ranges/*/*.json")
    return {path: path.stat().st_ino for path in found}


def run_into_the_middle(service: ServiceBench) -> None:
    """Start the service and wait until a range is finished."""
    service.start()
    drop(service)
    service.wait_until(lambda: len(receipts(service)) >= 1)


def check_dataset(service: ServiceBench) -> None:
    """Compare every voxel with the source, and look what is left."""
    check_nothing_is_left(service)
    stored = zarr.open_array(service.target / "run_041" / "color" / "1", mode="r")
    found_zyx = np.asarray(stored[0]).transpose(2, 1, 0)
    np.testing.assert_array_equal(np.stack(list(STACK.iter_slices())), found_zyx)


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_start_goes_on(service: ServiceBench, number: signal.Signals):
    """C28: killed, or stopped as for an update: finished ranges are not converted again."""
    run_into_the_middle(service)
    service.signal(number)
    service.wait()
    threading.Event().wait(0.5)  # the worker dies with its service, its processes with it
    left = receipts(service)
    service.close()
    service.start()
    service.wait_until(lambda: has_succeeded(service))

    taken = service.events("ranges.taken")
    total = int(str(taken[0]["range"]).rpartition(" ")[2])
    assert [f"{len(left)} of {total}"] == [line["range"] for line in taken]
    assert 1 <= len(left) < total
    assert 0 == service.stop()
    check_dataset(service)


@pytest.mark.system
def test_another_worker_goes_on(service: ServiceBench):
    """A worker that is killed costs the ranges under way: its job's next attempt takes the others.

    It has half the memory and one thread, and still cuts the stack as before.
    """
    run_into_the_middle(service)
    os.kill(int(service.events("job.claimed")[-1]["pid"]), signal.SIGKILL)
    service.wait_until(lambda: bool(service.events("worker.stopped")))
    left = receipts(service)
    service.wait_until(lambda: has_succeeded(service))

    assert left
    assert [f"{len(left)} of"] == [
        str(line["range"]).rpartition(" ")[0] for line in service.events("ranges.taken")
    ]
    assert 0 == service.stop()
    check_dataset(service)


@pytest.mark.system
def test_what_nobody_wants_any_more_is_removed(service: ServiceBench):
    """The acquisition changed while the service was away: its old ranges go, and it is new."""
    run_into_the_middle(service)
    service.signal(signal.SIGKILL)
    service.wait()
    service.close()
    slices = sorted((service.drop / "run_041").rglob("*.tif"))
    slices[0].write_bytes(slices[1].read_bytes())
    service.start()
    service.wait_until(lambda: has_succeeded(service))
    service.wait_until(lambda: not receipts(service))

    assert [] == service.events("ranges.taken")
    assert 0 == service.stop()
    check_nothing_is_left(service)
