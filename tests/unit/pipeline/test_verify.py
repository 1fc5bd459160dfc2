"""Prove a published dataset against its own manifest, with everything that can happen to it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import stackwatch
from stackwatch.errors import TargetExistsError, VerificationError
from stackwatch.pipeline.manifest import check_manifest, ensure_replaceable, load_manifest
from stackwatch.pipeline.verify import verify_dataset
from stackwatch.testing.mags import stored_files
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer

SHARD = "color/1/c/0/1/0/0"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a published dataset of several shards."""
    layers = (SyntheticLayer("color", (12, 40, 50)), SyntheticLayer("labels", (12, 40, 50)))
    SyntheticAcquisition(layers).write(tmp_path / "run")
    target = tmp_path / "out"
    stackwatch.convert(
        tmp_path / "run", target, voxel_size_nm=(11, 11, 25), chunk=8, shard=(32, 32, 8)
    )
    return target


def change(path: Path, at: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_an_untouched_dataset_is_verified(dataset: Path) -> None:
    """Every shard is read, and the answer counts them."""
    shards = {path: data for path, data in stored_files(dataset).items() if "/c/" in path}
    found = verify_dataset(dataset)

    assert ("verified", str(dataset)) == (found["status"], found["path"])
    assert (len(shards), sum(map(len, shards.values()))) == (found["shards"], found["bytes"])
    assert found["chunks"] > len(shards)


def replace_by_folder(path: Path) -> None:
    """Put a folder in a file's place."""
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "first byte": (lambda path: change(path, 0), "checksum"),
    "last byte": (lambda path: change(path, -1), "checksum"),
    "lost": (Path.unlink, "missing"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes instead of"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes instead of"),
    "empty": (lambda path: path.write_bytes(b""), "0 bytes instead of"),
    "a folder": (replace_by_folder, "unreadable"),
    "extra": (lambda path: path.with_name("9").write_bytes(b"x"), "not in the manifest"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_happened_to_a_shard_is_found(dataset: Path, damage: str) -> None:
    """Any change to any shard is found, with its path and what is wrong."""
    apply, words = DAMAGES[damage]
    apply(dataset / SHARD)
    with pytest.raises(VerificationError) as found:
        verify_dataset(dataset)
    (problem,) = found.value.values["problems"]

    assert problem.startswith(SHARD.rpartition("/")[0])
    assert words in problem


def test_all_problems_are_listed(dataset: Path) -> None:
    """The message names the first few, the values hold all."""
    shards = sorted(path for path in dataset.glob("color/1/c/0/*/*/*"))
    for path in shards:
        path.unlink()
    with pytest.raises(VerificationError, match=f"and {len(shards) - 3} more") as found:
        verify_dataset(dataset)

    assert len(shards) == len(found.value.values["problems"])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_manifest_is_no_manifest(dataset: Path, share: float) -> None:
    """A manifest that was cut off is refused, it does not verify a part."""
    path = dataset / "stackwatch.json"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(VerificationError, match="cannot be read as a manifest"):
        verify_dataset(dataset)


@pytest.mark.parametrize("content", ["[]", "{}", '{"shards": 7}', '{"shards": [{"path": "a"}]}'])
def test_json_that_is_no_manifest_is_refused(dataset: Path, content: str) -> None:
    """JSON of another shape is refused."""
    (dataset / "stackwatch.json").write_text(content)
    with pytest.raises(VerificationError, match="cannot be read as a manifest"):
        verify_dataset(dataset)


def test_a_manifest_with_a_shard_less_is_noticed(dataset: Path) -> None:
    """A manifest from which an entry was removed does not hide the shard."""
    path = dataset / "stackwatch.json"
    document = json.loads(path.read_text())
    document["shards"].pop()
    path.write_text(json.dumps(document))
    with pytest.raises(VerificationError, match="not in the manifest"):
        verify_dataset(dataset)


def test_a_folder_of_somebody_else_has_no_manifest(tmp_path: Path) -> None:
    """A folder without a manifest: the hint says what to give instead."""
    with pytest.raises(VerificationError) as found:
        verify_dataset(tmp_path)

    assert "stackwatch wrote" in found.value.hint


def test_the_quick_check_reads_the_indexes(dataset: Path) -> None:
    """Without reading everything a damaged index is found, a changed voxel is not."""
    _, shards = load_manifest(dataset)
    change(dataset / SHARD, 10)
    check_manifest(dataset, shards, reads_all=False)
    change(dataset / SHARD, -30)
    with pytest.raises(VerificationError, match="damaged index"):
        check_manifest(dataset, shards, reads_all=False)


def test_a_target_may_be_replaced_by_its_own_run_alone(dataset: Path) -> None:
    """The run that wrote a dataset may replace it, another may not, and nobody without a name."""
    run_id = load_manifest(dataset)[0]["run_id"]
    ensure_replaceable(dataset, run_id)
    ensure_replaceable(dataset.with_name("absent"), "")
    for other in ("", "0123"):
        with pytest.raises(TargetExistsError):
            ensure_replaceable(dataset, other)


@pytest.mark.parametrize("damage", ["changed", "lost"])
def test_metadata_is_verified_too(dataset: Path, damage: str) -> None:
    """An array whose shape was edited, or whose metadata is gone, is no longer what was written."""
    path = dataset / "color" / "1" / "zarr.json"
    if damage == "lost":
        path.unlink()
    else:
        path.write_text(path.read_text().replace("50", "49"))

    with pytest.raises(VerificationError) as caught:
        verify_dataset(dataset)

    assert ["color/1/zarr.json: missing or changed"] == caught.value.values["problems"]
