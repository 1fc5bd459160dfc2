"""What of an earlier attempt is believed, and what its digests depend on."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stackwatch.model.flags import ConvertFlags
from stackwatch.pipeline import resuming
from stackwatch.pipeline.opening import open_acquisition
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.pipeline.resuming import choose_slots, digest_circumstances, sift
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer


def circumstances(source: Path, **flags: Any) -> str:
    """Return the digest for a source as it is now."""
    options = ConvertFlags(voxel_size_nm=(1, 1, 1), **flags).options()
    request = ConvertRequest(source, source.with_name("run"), options)
    with open_acquisition(source, (), options, source.parent) as acquisition:
        return digest_circumstances(request, acquisition)


def test_a_digest_tells_what_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Source, options and version count; who does the work, with how much, does not."""
    source = tmp_path / "source"
    SyntheticAcquisition((SyntheticLayer(shape_zyx=(3, 20, 20)),)).write(source)
    first = circumstances(source)
    same = [
        circumstances(source),
        circumstances(source, threads=1, memory_gib=1, executor="processes", processes=3),
        circumstances(source, verify="full"),
    ]
    others = [circumstances(source, codec="none"), circumstances(source, chunk=64)]
    monkeypatch.setattr(resuming, "__version__", "0")
    others.append(circumstances(source))
    monkeypatch.undo()
    os.utime(sorted(source.rglob("*.tif"))[1], ns=(1, 1))
    others.append(circumstances(source))

    assert [first] * 3 == same
    assert len(others) == len({*others} - {first})


def write_range(staging: Path, order: str, number: int, shards: dict[str, int]) -> None:
    """Write a receipt, and its shards with other sizes than it says if so told."""
    told = {"layers": [], "digests": {}, "bytes_read": 0, "clipped": 0}
    told["shards"] = [{"path": path, "bytes": 5} for path in shards]
    folder = staging / "ranges" / order
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}.json").write_text(json.dumps(told))
    for path, size in shards.items():
        (staging / "dataset" / "run" / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / "dataset" / "run" / path).write_bytes(bytes(size))


def files_in(folder: Path) -> list[str]:
    """Return every file and every empty folder."""
    found = (path for path in folder.rglob("*") if path.is_file() or not any(path.iterdir()))
    return sorted(str(path.relative_to(folder)) for path in found)


def test_only_whole_ranges_of_wanted_orders_are_kept(tmp_path: Path):
    """Others go, with their shards and whatever else lies there, down to empty folders."""
    write_range(tmp_path, "wanted", 0, {"1/c/0": 5, "2/c/0": 5})
    write_range(tmp_path, "wanted", 1, {"1/c/1": 4})
    write_range(tmp_path, "wanted", 2, {})
    write_range(tmp_path, "other", 0, {"9/c/0": 5})
    (tmp_path / "ranges" / "wanted" / "3.json").write_text("{")
    (tmp_path / "ranges" / "wanted" / "4.json").write_text("{}")
    (tmp_path / "ranges" / "wanted" / "5.json").mkdir()
    (tmp_path / "ranges" / "wanted" / "order").touch()
    (tmp_path / "ranges" / "wanted" / "1-host-7").mkdir()
    (tmp_path / "ranges" / "slots").write_text("2")
    (tmp_path / "dataset" / "run" / "1" / "zarr.json").touch()
    root = tmp_path / "dataset" / "run"
    taken = sift(tmp_path, {"wanted": root}, {})

    assert (2, 10, 2, {root: frozenset({"1/c/0", "2/c/0"})}) == (
        taken.ranges, taken.bytes, taken.files, taken.shards,
    )  # fmt: skip
    assert [
        "dataset/run/1/c/0", "dataset/run/2/c/0", "ranges/slots", "ranges/wanted/0.json",
        "ranges/wanted/2.json",
    ] == files_in(tmp_path)  # fmt: skip


def test_shards_elsewhere_are_looked_for_there(tmp_path: Path):
    """In a bucket it is the bucket's listing that counts, and they take no room here."""
    write_range(tmp_path, "wanted", 0, {"a": 5})
    write_range(tmp_path, "wanted", 1, {"b": 5})
    root = tmp_path / "dataset" / "run"
    taken = sift(tmp_path, {"wanted": root}, {root: {"a": 5, "b": 4}})

    assert (1, 0, {root: frozenset({"a"})}) == (taken.ranges, taken.bytes, taken.shards)


def test_stacks_are_cut_as_before_if_that_will_do(tmp_path: Path):
    """Up to twice as many slots keep the cut; more, or nothing written, make a new one."""
    before = choose_slots(tmp_path, 7)
    (tmp_path / "slots").write_text("3\n")

    assert (7, 3, 3, 7) == (before, *(choose_slots(tmp_path, slots) for slots in (1, 6, 7)))
