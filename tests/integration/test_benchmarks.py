"""The benchmark's own parts: what it measures is what happened."""

import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, TransposeCodec, ZstdCodec

from benchmarks import delivery
from benchmarks.bench import iter_rows, take_medians
from benchmarks.cases import CASES, Figures, judge
from benchmarks.floors import measure_codec
from benchmarks.measure import CommandFailedError, count_bytes, measure
from benchmarks.stacks import FULL, SMALL, WRITERS

ALLOCATE = "import time; data = bytearray(b'x') * (96 << 20); time.sleep(1)"
IN_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALLOCATE!r}])"


def figures(seconds: float, cpu_s: float = 1.0, peak_mib: float = 100.0) -> dict[str, float]:
    """Return the figures of one contender."""
    return {"seconds": seconds, "cpu_s": cpu_s, "peak_mib": peak_mib, "output_mb": 10.0}


def test_memory_of_descendants_counts(tmp_path: Path) -> None:
    """The peak is that of the whole tree, not of the command alone."""
    found = measure([sys.executable, "-c", IN_A_CHILD], tmp_path / "log")

    assert found.peak_mib > 96
    assert found.largest_rss_mib > 96


def test_a_failed_command_is_an_error_with_its_output(tmp_path: Path) -> None:
    """A contender that fails gives no figures, and says why."""
    command = [sys.executable, "-c", "raise SystemExit('no such stack')"]

    with pytest.raises(CommandFailedError, match=r"exit code 1(?s:.)*no such stack"):
        measure(command, tmp_path / "log")


def test_bytes_of_a_tree_are_counted(tmp_path: Path) -> None:
    """All files count, whatever their depth."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/one").write_bytes(b"12345")
    (tmp_path / "a/b/two").write_bytes(b"67")

    assert 7 == count_bytes(tmp_path)


def test_every_case_has_a_stack() -> None:
    """Every stack that a case names can be written in both sizes."""
    stacks = {case.stack for case in CASES}

    assert stacks <= FULL.keys() & SMALL.keys() & WRITERS.keys()


def test_bars_are_ratios_of_one_run() -> None:
    """The electron microscopy bars are met, or missed, by the ratios to the peer and the floor."""
    results: dict[str, Figures] = {
        "em": {
            "ours": figures(4.0, cpu_s=6.0),
            "peer": figures(80.0, cpu_s=120.0),
            "peer, best setting": figures(40.0),
            "floor": figures(3.0),
        }
    }
    found = {bar.text: (round(bar.reached, 2), bar.is_met) for bar in judge(results)}

    assert {
        "em: peak MiB": (100.0, True),
        "em: times quicker than peer": (20.0, True),
        "em: times quicker than peer, best setting": (10.0, False),
        "em: times fewer CPU seconds than peer": (20.0, True),
        "em: seconds / floor": (1.33, True),
    } == found


def test_a_case_without_peer_judges_only_ours() -> None:
    """Without the peer's figures no ratio to them is claimed."""
    found = judge({"em": {"ours": figures(4.0)}, "labels": {"ours": figures(4.0)}})

    assert ["em: peak MiB"] == [bar.text for bar in found]


def test_growth_of_memory_is_judged_over_both_depths() -> None:
    """The bar of flat memory compares 1,024 slices with 128."""
    results: dict[str, Figures] = {
        "deep_128": {"ours": figures(1.0, peak_mib=200)},
        "deep_1024": {"ours": figures(9.0, peak_mib=230)},
    }
    (bar,) = judge(results)

    assert (1.15, False) == (round(bar.reached, 2), bar.is_met)


def test_table_shows_ratios_to_ours() -> None:
    """Each contender's figure is followed by how many times ours it is."""
    rows = list(iter_rows({"em": {"ours": figures(4.0), "peer": figures(8.0)}}))

    assert [
        ("em", "ours", "4.00", "1.00", "100", "10.0"),
        ("em", "peer", "8.00 (2.00x)", "1.00 (1.00x)", "100 (1.00x)", "10.0 (1.00x)"),
    ] == rows


def test_median_of_each_figure_counts() -> None:
    """Figures of several runs are reduced one by one."""
    runs = [figures(3.0, cpu_s=1.0), figures(1.0, cpu_s=9.0), figures(2.0, cpu_s=5.0)]

    assert figures(2.0, cpu_s=5.0) == take_medians(runs)


BLOSC = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=2)


@pytest.mark.parametrize(
    ("dtype", "compressor"),
    [
        ("uint8", ZstdCodec(level=3)),
        (
            "uint16",
            BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=2),
        ),
    ],
)
def test_codec_floor_compresses_what_is_stored(
    tmp_path: Path, dtype: str, compressor: ZstdCodec | BloscCodec
) -> None:
    """The floor's compressed bytes are those of the dataset, less the shards' indexes."""
    array = zarr.create_array(
        str(tmp_path / "dataset/color/1"),
        shape=(1, 257, 130, 40),
        chunks=(1, 32, 32, 32),
        shards=(1, 256, 256, 32),
        dtype=dtype,
        filters=[TransposeCodec(order=(3, 2, 1, 0))],
        compressors=compressor,
        fill_value=0,
    )
    voxels = np.random.default_rng(0).integers(0, 9, array.shape).astype(dtype)
    voxels[:, :32, :32, :32] = 0
    array[:] = voxels
    shards = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "zarr.json"]
    index_bytes = 8 * 8 * 16 + 4
    stored = sum(path.stat().st_size - index_bytes for path in shards)

    assert measure_codec(tmp_path / "dataset", threads=2)["compressed_bytes"] == stored


@pytest.mark.system
def test_upload_beside_httpx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark of uploads runs, and shows that memory does not grow with the dataset."""
    monkeypatch.setattr(delivery, "EDGE", 1024)
    monkeypatch.setattr(delivery, "FILE_BYTES", 4 << 20)

    found = delivery.measure(tmp_path, files=8, runs=1, chunk_mib=1, parallel=2)

    assert 32 == found["mib"]
    assert found["growth"] < delivery.GROWTH_BAR
