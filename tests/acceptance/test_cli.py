"""The installed command as a process: conversions, signals, exit codes, what it loads."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stackwatch.errors import ExitCode
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer

COMMAND = (sys.executable, "-m", "stackwatch")
VOXELS = ("--voxel-size-nm", "11,11,25")
DEADLINE_S = 60

RESULT_KEYS = {
    "schema", "status", "layout", "datasets", "content_digest", "bytes_read", "bytes_written",
    "seconds", "peak_mib", "verified_chunks", "warnings",
}  # fmt: skip
DATASET_KEYS = {
    "name", "path", "layers", "voxel_size_nm", "voxel_size_source", "bytes_written",
}  # fmt: skip
LAYER_KEYS = {"name", "category", "voxel_type", "bounding_box", "timepoints", "mags"}
ERROR_KEYS = {"schema", "status", "error_code", "message", "hint", "disposition", "values"}


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command and return what it wrote."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        **options,
    )


def answer(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """Run the command with `--json` and return its document."""
    done = run(*arguments, "--json")
    assert code == done.returncode, done.stderr
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def everything_in(folder: Path) -> list[str]:
    """Return every path under a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Return an acquisition of five slices, beside an empty folder `out`."""
    layer = SyntheticLayer(shape_zyx=(5, 70, 90), content="em")
    SyntheticAcquisition((layer,)).write(tmp_path / "run_041")
    (tmp_path / "out").mkdir()
    return tmp_path / "run_041"


def test_convert_document(stack: Path):
    """`convert` writes the dataset and tells about it with the documented keys."""
    target = stack.parent / "out" / "em"
    document = answer("convert", stack, target, *VOXELS)

    assert RESULT_KEYS == set(document)
    assert ("succeeded", 1) == (document["status"], document["schema"])
    (dataset,) = document["datasets"]
    assert DATASET_KEYS == set(dataset)
    assert (str(target), [11.0, 11.0, 25.0]) == (dataset["path"], dataset["voxel_size_nm"])
    (layer,) = dataset["layers"]
    assert LAYER_KEYS == set(layer)
    assert {"top_left": [0, 0, 0], "size": [90, 70, 5]} == layer["bounding_box"]
    assert document["bytes_read"] > 0
    assert (target / "datasource-properties.json").is_file()


def test_convert_obeys_its_options(stack: Path):
    """Names, category and mags of the command line arrive in the dataset."""
    target = stack.parent / "out" / "x"
    document = answer(
        "convert", stack, target, *VOXELS, "--name", "n", "--layer-name", "cells",
        "--category", "segmentation", "--no-downsample", "--chunk", "16", "--shard", "64,64,16",
        "--codec", "gzip", "--threads", "1", "--memory-gib", "0.5", "--verify", "full",
    )  # fmt: skip
    (dataset,) = document["datasets"]
    (layer,) = dataset["layers"]

    assert "n" == dataset["name"]
    assert ("cells", "segmentation", ["1"]) == (layer["name"], layer["category"], layer["mags"])


def test_inspect_document(stack: Path):
    """`inspect` has the documented keys and writes nothing."""
    before = everything_in(stack.parent)
    document = answer("inspect", stack, *VOXELS)

    assert {
        "schema", "status", "layout", "evidence", "layers", "voxel_size_nm", "voxel_size_source",
        "bytes_to_read", "voxels_to_write", "scenes", "warnings",
    } == set(document)  # fmt: skip
    assert document["status"] == "ready"
    assert LAYER_KEYS | {"source"} == set(document["layers"][0])
    assert before == everything_in(stack.parent)


def test_inspect_tells_what_would_be_parked(stack: Path):
    """What would be parked ends with 75 and names reason and remedy, in both forms."""
    document = answer("inspect", stack, code=ExitCode.PARKED)
    done = run("inspect", stack)

    assert ("parked", "missing_metadata") == (document["status"], document["error_code"])
    assert "voxel_size_nm" in document["hint"]
    assert done.returncode == ExitCode.PARKED
    assert "status      parked" in done.stdout
    assert "No voxel size" in done.stderr


def test_verify_document(stack: Path):
    """`verify` proves a dataset by its manifest alone, and finds a byte that changed."""
    target = stack.parent / "out" / "em"
    answer("convert", stack, target, *VOXELS)
    document = answer("verify", target)

    assert {
        "schema", "status", "path", "run_id", "shards", "chunks", "bytes", "seconds",
    } == set(document)  # fmt: skip
    assert document["status"] == "verified"
    shard = next(path for path in target.rglob("c/**/*") if path.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert answer("verify", target, code=ExitCode.FAILED)["error_code"] == "verification"


def test_a_refused_conversion_leaves_nothing(stack: Path):
    """What is parked is a document with exit code 75, and nothing lies in the target."""
    (stack / "slice_0002.tif").unlink()
    document = answer("convert", stack, stack.parent / "out" / "em", *VOXELS, code=ExitCode.PARKED)

    assert ERROR_KEYS == set(document)
    assert ("parked", "missing_slices") == (document["status"], document["error_code"])
    assert [] == everything_in(stack.parent / "out")


def test_an_existing_target_is_left_alone(stack: Path):
    """People read how the first conversion went; a second to the same place changes nothing."""
    target = stack.parent / "out" / "em"
    done = run("convert", stack, target, *VOXELS)
    before = everything_in(target.parent)

    assert done.returncode == ExitCode.DONE
    assert "color: color, uint8, 90 × 70 × 5" in done.stdout
    assert "converting: 0 of 5 slices" in done.stderr
    document = answer("convert", stack, target, *VOXELS, code=ExitCode.PARKED)

    assert document["error_code"] == "target_exists"
    assert before == everything_in(target.parent)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an acquisition that takes a while."""
    place = tmp_path_factory.mktemp("source") / "big"
    layer = SyntheticLayer(shape_zyx=(300, 512, 512), content="coordinates", dtype="uint16")
    SyntheticAcquisition((layer,)).write(place)
    return place


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_a_signal_stops_a_conversion_cleanly(big: Path, tmp_path: Path, number: int, code: int):
    """At SIGINT or SIGTERM the conversion stops, removes its staging and ends with that code."""
    child = subprocess.Popen(
        [*COMMAND, "convert", str(big), str(tmp_path / "big"), *VOXELS,
         "--threads", "1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        assert child.stderr is not None
        # the pipe ends if the command does, so this loop ends in every case
        began = any(line.startswith("converting") for line in child.stderr)
        child.send_signal(number)
        rest = child.stderr.read()

    assert began
    assert code == child.wait(), rest
    assert "Traceback" not in rest
    assert [] == [path for path in everything_in(tmp_path) if path != ".stackwatch"]


def test_a_closed_stdout_does_no_harm(stack: Path):
    """A reader that went away changes neither the dataset nor the exit code."""
    target = stack.parent / "out" / "em"
    child = subprocess.Popen(
        [*COMMAND, "convert", str(stack), str(target), *VOXELS, "--json"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        errors = child.stderr.read()

    assert (0, "") == (child.wait(), errors)
    assert target.is_dir()


def test_names_that_are_no_text_do_no_harm(tmp_path: Path):
    """A path of arbitrary bytes is converted, and shown with its bytes escaped."""
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xff"))
    layer = SyntheticLayer(shape_zyx=(3, 40, 50), content="em")
    SyntheticAcquisition((layer,)).write(source)
    done = run("inspect", source, *VOXELS, "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ready"
    missing = run("inspect", os.fsdecode(b"/nowhere/\xff"), "--json")
    assert json.loads(missing.stdout)["values"]["path"] == "/nowhere/\\xff"


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import stackwatch", "numpy typer rich pydantic structlog zarr tifffile"),
        (
            "import stackwatch.cli.app",
            "numpy rich pydantic structlog zarr tifffile asyncio sqlite3",
        ),
        ("from stackwatch.errors import StackwatchError", "numpy pydantic structlog"),
        ("import stackwatch.logs", "structlog numpy"),
    ],
)
def test_what_is_heavy_is_loaded_late(code: str, forbidden: str):
    """The package and `stackwatch --help` load nothing that they do not need."""
    check = f"{code}\nimport sys\nprint(*[m for m in {forbidden.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_converting_needs_no_service(stack: Path):
    """One conversion loads neither the settings nor the logs of the service."""
    check = (
        "import sys\n"
        "from stackwatch.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print(*[m for m in ('structlog', 'pydantic_settings', 'sqlite3', 'rich', 'watchdog')"
        " if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check, "convert", stack, stack.parent / "out" / "em", *VOXELS,
         "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "" == done.stderr.strip()
