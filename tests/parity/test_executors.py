"""Whoever converts, the dataset is the same, byte for byte."""

import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stackwatch.errors import CorruptSliceError, WorkerKilledError
from stackwatch.model.flags import ConvertFlags
from stackwatch.model.options import ConvertOptions, StoreOptions
from stackwatch.model.result import ConvertResult, Progress
from stackwatch.pipeline import processes, range_main, ranges
from stackwatch.pipeline.convert import convert_acquisition
from stackwatch.pipeline.journal import PublishFact
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.testing.mags import read_with_zarr
from stackwatch.testing.synthetic import (
    SyntheticAcquisition,
    SyntheticLayer,
    coordinate_tczyx,
    write_ome_tiff,
)

EDGES = (11.24, 11.24, 25.0)


class Listener:
    """A journal that remembers."""

    def __init__(self) -> None:
        self.seen: list[Progress] = []

    def progress(self, progress: Progress) -> None:
        """Remember."""
        self.seen.append(progress)

    def record(self, fact: PublishFact) -> None:
        """Agree."""


def contents(dataset: Path) -> dict[str, str]:
    """Return the digest of every file, without what a run says of itself."""
    found = {}
    for path in sorted(dataset.rglob("*")):
        if path.is_file() and path.name != "stackwatch.json":
            found[str(path.relative_to(dataset))] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = json.loads((dataset / "stackwatch.json").read_text())
    for told in ("run_id", "created_utc"):
        del manifest[told]
    found["stackwatch.json"] = json.dumps(manifest, sort_keys=True)
    return found


def options_with(executor: str, **flags: Any) -> ConvertOptions:
    """Return options for two processes with a thread each."""
    flags = {"voxel_size_nm": EDGES, "name": "run", "threads": 2, "memory_gib": 1, **flags}
    count = 2 if executor == "processes" else None
    return ConvertFlags(executor=executor, processes=count, **flags).options()


def convert_both(source: Path, target: Path, **flags: Any) -> tuple[ConvertResult, ConvertResult]:
    """Convert with threads and with processes; return both results."""
    results = []
    for executor in ("local", "processes"):
        request = ConvertRequest(source, target / executor / "run", options_with(executor, **flags))
        results.append(convert_acquisition(request, Listener()))
    return results[0], results[1]


ACQUISITIONS: dict[str, tuple[SyntheticAcquisition, dict[str, Any]]] = {
    "odd extents": (SyntheticAcquisition((SyntheticLayer(shape_zyx=(133, 71, 45)),)), {}),
    "rgb": (SyntheticAcquisition((SyntheticLayer(shape_zyx=(70, 40, 33), samples=3),)), {}),
    "two layers": (
        SyntheticAcquisition((
            SyntheticLayer("color", (97, 50, 64), content="em"),
            SyntheticLayer("labels", (80, 41, 64), dtype="uint32", content="labels"),
        )),
        {},
    ),
    "one file of many pages": (
        SyntheticAcquisition((
            SyntheticLayer(shape_zyx=(100, 48, 40), dtype="uint16", kind="multipage"),
        )),
        {"voxel_size_nm": (10, 10, 10)},
    ),
    "a missing slice": (
        SyntheticAcquisition((SyntheticLayer(shape_zyx=(70, 40, 33), missing=(40,)),)),
        {"missing_slices": "black"},
    ),
    "deep shards": (
        SyntheticAcquisition((SyntheticLayer(shape_zyx=(150, 40, 33)),)),
        {"shard": (32, 32, 64)},
    ),
}  # fmt: skip

SMALLEST, *OTHERS = ACQUISITIONS


@pytest.mark.parametrize(
    "name", [SMALLEST, *(pytest.param(name, marks=pytest.mark.system) for name in OTHERS)]
)
def test_processes_write_the_same_bytes(tmp_path: Path, name: str):
    """Files, manifest, view range, digest and counts of bytes are those of one process."""
    acquisition, flags = ACQUISITIONS[name]
    acquisition.write(tmp_path / "source")
    local, ranged = convert_both(tmp_path / "source", tmp_path, **flags)

    assert contents(tmp_path / "local" / "run") == contents(tmp_path / "processes" / "run")
    assert (local.content_digest, local.bytes_read, local.bytes_written, local.warnings) == (
        ranged.content_digest, ranged.bytes_read, ranged.bytes_written, ranged.warnings,
    )  # fmt: skip


@pytest.mark.system
def test_timepoints_are_ranges_of_their_own(tmp_path: Path):
    """Several timepoints in one file: each range is of one of them."""
    stack = coordinate_tczyx(3, 1, (40, 33, 36), "uint8")
    write_ome_tiff(tmp_path / "t.ome.tif", stack, voxel_size_nm=EDGES)
    convert_both(tmp_path / "t.ome.tif", tmp_path)

    assert contents(tmp_path / "local" / "run") == contents(tmp_path / "processes" / "run")


@pytest.mark.system
def test_swaths_and_ranges_go_together(tmp_path: Path):
    """A budget that holds no whole plane cuts ranges into swaths too: other shards, same voxels."""
    SyntheticAcquisition((SyntheticLayer(shape_zyx=(34, 2048, 1024)),)).write(tmp_path / "source")
    convert_both(tmp_path / "source", tmp_path, memory_gib=0.33)
    local, ranged = tmp_path / "local" / "run", tmp_path / "processes" / "run"
    mags = sorted(path.parent.relative_to(local) for path in local.glob("*/*/zarr.json"))
    shard = json.loads((ranged / mags[0] / "zarr.json").read_text())

    assert 2048 > shard["chunk_grid"]["configuration"]["chunk_shape"][2]
    assert 4 < len(mags)
    for mag in mags:
        np.testing.assert_array_equal(read_with_zarr(local / mag), read_with_zarr(ranged / mag))


def test_progress_counts_slices_and_ranges(tmp_path: Path):
    """Every slice is counted once, and the ranges that are done."""
    SyntheticAcquisition((SyntheticLayer(shape_zyx=(160, 40, 33)),)).write(tmp_path / "source")
    listener = Listener()
    request = ConvertRequest(tmp_path / "source", tmp_path / "run", options_with("processes"))
    convert_acquisition(request, listener)
    last = listener.seen[-1]

    assert (160, 160, 5, 5) == (last.done, last.total, last.ranges_done, last.ranges_total)


def test_a_killed_process_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What it was doing is done again by another; the dataset is the same."""
    SyntheticAcquisition((SyntheticLayer(shape_zyx=(160, 71, 45)),)).write(tmp_path / "source")
    killed: list[int] = []

    class Murderous(processes.ProcessExecutor):
        def carry_out(self, order, numbers, done, control, tick):
            def kill_one() -> None:
                tick()
                process = self._slots[0]._process
                if not killed and process is not None and process.poll() is None:
                    killed.append(process.pid)
                    os.kill(process.pid, signal.SIGKILL)

            super().carry_out(order, numbers, done, control, kill_one)

    monkeypatch.setattr(processes, "ProcessExecutor", Murderous)
    convert_both(tmp_path / "source", tmp_path)

    assert 1 == len(killed)
    assert contents(tmp_path / "local" / "run") == contents(tmp_path / "processes" / "run")


@pytest.mark.system
def test_processes_that_always_die_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After three tries the conversion ends with a reason, and nothing stays behind."""
    SyntheticAcquisition((SyntheticLayer(shape_zyx=(70, 40, 33)),)).write(tmp_path / "source")
    monkeypatch.setenv("STACKWATCH_FAILPOINT", "convert.slab_written")
    request = ConvertRequest(
        tmp_path / "source", tmp_path / "out" / "run", options_with("processes")
    )
    with pytest.raises(WorkerKilledError, match="was ended 3 times"):
        convert_acquisition(request, Listener())

    assert [] == list((tmp_path / "out").iterdir())


def test_damage_in_a_range_is_told_as_ever(tmp_path: Path):
    """The error of a range is the error of the conversion, and nothing stays behind."""
    SyntheticAcquisition((SyntheticLayer(shape_zyx=(70, 40, 33)),)).write(tmp_path / "source")
    slices = sorted((tmp_path / "source").iterdir())
    slices[50].write_bytes(slices[50].read_bytes()[:-600])
    request = ConvertRequest(
        tmp_path / "source", tmp_path / "out" / "run", options_with("processes")
    )
    with pytest.raises(CorruptSliceError, match=slices[50].name):
        convert_acquisition(request, Listener())

    assert [] == list((tmp_path / "out").iterdir())


def test_memory_that_runs_out_is_told_as_such(monkeypatch: pytest.MonkeyPatch):
    """The service then tries again with less; an unknown error would be tried with the same."""

    def run_out(order: str, number: int) -> dict[str, Any]:
        raise MemoryError

    monkeypatch.setattr(ranges, "run_range", run_out)
    answer = range_main._answer({"order": "order", "number": 0})

    assert "worker_killed" == answer["error"]["error_code"]


@pytest.mark.system
@pytest.mark.parametrize("store", [StoreOptions(format="wkw"), StoreOptions()])
def test_what_cannot_be_cut_is_converted_here(tmp_path: Path, store: StoreOptions):
    """WKW, and a stack of one shard's depth: no ranges, and the same dataset."""
    depth = 70 if store.format == "wkw" else 20
    SyntheticAcquisition((SyntheticLayer(shape_zyx=(depth, 40, 33)),)).write(tmp_path / "source")
    listener = Listener()
    for executor in ("local", "processes"):
        options = replace(options_with(executor), store=store)
        request = ConvertRequest(tmp_path / "source", tmp_path / executor / "run", options)
        convert_acquisition(request, listener)

    assert {0} == {progress.ranges_total for progress in listener.seen}
    assert contents(tmp_path / "local" / "run") == contents(tmp_path / "processes" / "run")
