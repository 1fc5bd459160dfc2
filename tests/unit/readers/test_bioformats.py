"""Bio-Formats in a child process: what nobody else reads, with its metadata, or a clear refusal.

The jar is not ours to give: most of these tests need its path in BIOFORMATS_JAR,
and Java. What needs neither is tested without.
"""

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import stackwatch
from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.readers import bioformats
from stackwatch.readers.bioformats import BioformatsOpener
from stackwatch.testing.patterns import coordinate_stack

JAR = os.environ.get("BIOFORMATS_JAR", "")
STACK = coordinate_stack((3, 40, 50), "uint16")

needs_jar = pytest.mark.skipif(
    not JAR or shutil.which("java") is None or find_spec("jpype") is None,
    reason="Bio-Formats: no BIOFORMATS_JAR, no Java or no jpype1",
)
pytestmark = pytest.mark.timeout(240)


def write_ics(path: Path, stack: np.ndarray) -> None:
    """Write an ICS 2 file of uint16, axes z, y, x, with a voxel of 100, 100, 500 nm."""
    depth, height, width = stack.shape
    lines = (
        "ics_version\t2.0", "filename\ta", "layout\tparameters\t4",
        "layout\torder\tbits\tx\ty\tz", f"layout\tsizes\t16\t{width}\t{height}\t{depth}",
        "layout\tcoordinates\tvideo", "layout\tsignificant_bits\t16",
        "representation\tformat\tinteger", "representation\tsign\tunsigned",
        "representation\tcompression\tuncompressed", "representation\tbyte_order\t1\t2",
        "parameter\tscale\t1.0\t0.1\t0.1\t0.5",
        "parameter\tunits\tbits\tmicrometers\tmicrometers\tmicrometers", "end",
    )  # fmt: skip
    text = "\t\n" + "\n".join(lines) + "\n"
    path.write_bytes(text.encode("ascii") + stack.astype("<u2").tobytes())


@pytest.fixture
def ics(tmp_path: Path) -> Path:
    """Return an ICS file."""
    write_ics(tmp_path / "a.ics", STACK)
    return tmp_path / "a.ics"


@needs_jar
def test_converted(ics):
    """Every voxel and the voxel size, and a warning says who read it."""
    result = stackwatch.convert(ics, ics.parent / "out", bioformats_jar=JAR, threads=3)
    written: Any = zarr.open_array(ics.parent / "out/color/1", mode="r")

    np.testing.assert_array_equal(STACK, written[0].T)
    assert (100, 100, 500) == tuple(result.datasets[0].voxel_size_nm)
    assert any("read with Bio-Formats" in warning for warning in result.warnings)


@needs_jar
def test_truncated(ics):
    """Where the file ends before its planes do nothing becomes zero."""
    ics.write_bytes(ics.read_bytes()[:-100])

    with pytest.raises(CorruptSliceError, match="ends before the plane"):
        stackwatch.convert(ics, ics.parent / "out", bioformats_jar=JAR)


@needs_jar
def test_series_channels_and_times(tmp_path, monkeypatch):
    """Series are scenes; each plane is the one of its series, z, c and t."""
    monkeypatch.setattr(bioformats, "BIOFORMATS_SUFFIXES", frozenset({".fake"}))
    name = "p&sizeX=60&sizeY=20&sizeZ=4&sizeC=2&sizeT=3&pixelType=uint16&series=2&little=false.fake"
    (tmp_path / name).touch()
    opener = BioformatsOpener(JAR)
    try:
        with (tmp_path / name).open("rb") as file:
            reader = opener(file, name, 1)
            info, plane = reader.info, reader.read_plane(2, 1, 3, (0, 20))
    finally:
        opener.close()

    assert (3, 2, 4, 20, 60) == (info.size_t, info.size_c, info.size_z, info.size_y, info.size_x)
    assert (2, 1) == (len(info.scenes), info.scene)
    # squares of 10 pixels tell series, number of the plane, z, c and t
    assert [1, 3, 1, 2] == [int(plane[0, at]) for at in (0, 20, 30, 40)]


@needs_jar
def test_colours_side_by_side_or_not(tmp_path, monkeypatch):
    """RGB is the same whether its samples are stored interleaved or plane by plane."""
    monkeypatch.setattr(bioformats, "BIOFORMATS_SUFFIXES", frozenset({".fake"}))
    planes = []
    opener = BioformatsOpener(JAR)
    try:
        for word in ("true", "false"):
            name = f"p&sizeX=64&sizeY=20&sizeC=3&rgb=3&interleaved={word}.fake"
            (tmp_path / name).touch()
            with (tmp_path / name).open("rb") as file:
                planes.append(opener(file, name).read_plane(0, 0, 0, (0, 20)))
    finally:
        opener.close()

    assert (20, 64, 3) == planes[0].shape
    np.testing.assert_array_equal(planes[0], planes[1])


@needs_jar
def test_what_is_no_jar(ics, tmp_path):
    """A file that is no jar is told, with what to check."""
    (tmp_path / "no.jar").write_bytes(b"no")
    found = stackwatch.inspect(ics, bioformats_jar=tmp_path / "no.jar")

    assert isinstance(found.error, UnsupportedFormatError)
    assert "bioformats_jar" in found.error.hint


def test_without_jpype(ics, monkeypatch):
    """The line that installs what is missing is told."""
    monkeypatch.setattr(bioformats, "find_spec", lambda _: None)
    found = stackwatch.inspect(ics, bioformats_jar="/opt/x.jar")

    assert found.error is not None
    assert 'pip install "stackwatch[bioformats]"' in found.error.hint


@pytest.mark.skipif(find_spec("jpype") is None, reason="Bio-Formats: no jpype1")
def test_a_jar_that_is_not_there(ics):
    """The path is named."""
    found = stackwatch.inspect(ics, bioformats_jar="/nowhere/x.jar")

    assert found.error is not None
    assert "/nowhere/x.jar" in found.error.message


@pytest.mark.skipif(find_spec("jpype") is None, reason="Bio-Formats: no jpype1")
def test_a_child_that_says_nothing_is_killed(ics, tmp_path, monkeypatch):
    """A header that is read for ever is damage; the child ends, and nothing is published."""
    silent = tmp_path / "python"
    silent.write_text('#!/bin/sh\necho \'{"version": "8.0"}\'\nexec sleep 600\n')
    silent.chmod(0o755)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(sys, "executable", str(silent))
    monkeypatch.setattr(subprocess, "Popen", noted)
    monkeypatch.setattr(bioformats, "_PATIENCE_S", 0.3)
    (tmp_path / "x.jar").write_bytes(b"a jar")

    with pytest.raises(CorruptSliceError, match=r"took more than 0\.3 s"):
        stackwatch.convert(ics, tmp_path / "out", bioformats_jar=str(tmp_path / "x.jar"))

    assert [-signal.SIGKILL] == [process.returncode for process in started]
    assert not (tmp_path / "out").exists()


def test_without_a_jar(ics):
    """Such files are refused by their suffix, as before."""
    found = stackwatch.inspect(ics)

    assert isinstance(found.error, UnsupportedFormatError)
    assert [".ics"] == found.error.values["suffixes"]
