"""Sidecars and the daemon: what a person says about one acquisition, from file to dataset."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import AcquisitionRecord, Job
from stackwatch.testing.crashes import list_datasets
from stackwatch.testing.service import ServiceBench, bench

SLICES = np.arange(3 * 9 * 7, dtype=np.uint8).reshape(3, 9, 7)
SIDECAR = """\
name = "Cortex 7, left"
voxel_size_nm = [4, 4, 25]   # the folder says 1, 1, 1
layer_name = "em"
priority = 3
upload = false

[metadata]
operator = "A. Meier"
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory):
    """One running daemon with the real conversion."""
    with bench(tmp_path_factory.mktemp("sidecars"), worker=None) as made:
        made.start()
        yield made


def drop(service: ServiceBench, name: str, sidecar: str) -> Path:
    """Drop slices and a sidecar in one go."""
    built = service.root / f"building-{name}"
    built.mkdir()
    for z, slice_yx in enumerate(SLICES):
        tifffile.imwrite(built / f"slice_{z}.tif", slice_yx)
    (built / "stackwatch.toml").write_text(sidecar)
    return built.rename(service.drop / name)


def jobs_of(service: ServiceBench, acquisition: str) -> list[Job]:
    """Return the jobs of an acquisition, oldest first."""
    with LedgerReader.open(service.state_dir) as reader:
        return [job for job in reversed(reader.list_jobs()) if job.key == acquisition]


def record_of(service: ServiceBench, acquisition: str) -> AcquisitionRecord:
    """Return what the ledger knows of an acquisition."""
    with LedgerReader.open(service.state_dir) as reader:
        (found,) = [one for one in reader.list_acquisitions() if one.key == acquisition]
    return found


def await_states(service: ServiceBench, acquisition: str, *states: str) -> None:
    """Wait until the jobs of an acquisition are in these states."""
    service.wait_until(
        lambda: list(states) == [str(job.state) for job in jobs_of(service, acquisition)]
    )


def manifest_of(service: ServiceBench, dataset: str) -> dict[str, Any]:
    """Return the manifest of a dataset."""
    document = json.loads((service.target / dataset / "stackwatch.json").read_text())
    assert isinstance(document, dict)
    return document


def test_what_a_sidecar_says_is_done_and_only_its_meaning_counts(service: ServiceBench) -> None:
    """D6: name, voxel size, layer, metadata; a comment changes nothing, a voxel size does."""
    acquisition = drop(service, "run_041", SIDECAR)
    await_states(service, "run_041", "succeeded")

    place = service.target / "Cortex_7__left"
    document = json.loads((place / "datasource-properties.json").read_text())
    manifest = manifest_of(service, "Cortex_7__left")
    assert ("Cortex_7__left", [4.0, 4.0, 25.0], ["em"]) == (
        document["id"]["name"],
        document["scale"]["factor"],
        [layer["name"] for layer in document["dataLayers"]],
    )
    assert {"sidecar": {"operator": "A. Meier"}} == manifest["metadata"]
    assert ["stackwatch.toml"] * 3 == manifest["voxel_size_source"]
    assert "Cortex 7, left" == record_of(service, "run_041").name

    (acquisition / "stackwatch.toml").write_text(SIDECAR + "# checked\n")
    service.wait_until(lambda: any("content" in str(line.get("reason"))
                                   for line in service.events("acquisition.settled")))  # fmt: skip
    assert 1 == len(jobs_of(service, "run_041"))

    (acquisition / "stackwatch.toml").write_text(SIDECAR.replace("4, 4, 25", "4, 4, 30"))
    await_states(service, "run_041", "succeeded", "succeeded")
    assert [4, 4, 30] == manifest_of(service, "Cortex_7__left-r2")["voxel_size_nm"]
    assert [4, 4, 25] == manifest_of(service, "Cortex_7__left")["voxel_size_nm"]

    (acquisition / "stackwatch.toml").unlink()
    await_states(service, "run_041", *["succeeded"] * 3)
    assert [1, 1, 1] == manifest_of(service, "run_041")["voxel_size_nm"]
    states = {one.name: str(one.state) for one in list_datasets(service) if one.key == "run_041"}
    assert {
        "Cortex_7__left": "superseded",
        "Cortex_7__left-r2": "superseded",
        "run_041": "published",
    } == states


def test_a_mistake_parks_with_its_line_and_mending_it_resumes(service: ServiceBench) -> None:
    """Nothing is converted by half of what a person wants."""
    acquisition = drop(service, "typo", 'layer_name = "em"\nvoxel_size = [4, 4, 25]\n')
    await_states(service, "typo", "parked")
    (line,) = [one for one in service.events("job.parked") if one["acquisition"] == "typo"]
    assert "sidecar" == line["error_code"]
    assert "line 2: `voxel_size` is not known; did you mean `voxel_size_nm`" in line["message"]

    (acquisition / "stackwatch.toml").write_text('layer_name = "em"\nvoxel_size_nm = [4, 4, 25]\n')
    await_states(service, "typo", "failed", "succeeded")
    assert [4, 4, 25] == manifest_of(service, "typo")["voxel_size_nm"]


def test_loose_files_have_their_sidecar_beside_them(service: ServiceBench) -> None:
    """A single file, and a group of files that differ in a number."""
    tifffile.imwrite(service.root / "stack.tif", SLICES, photometric="minisblack")
    (service.drop / "stack.tif.stackwatch.toml").write_text("voxel_size_nm = { z = 30 }")
    (service.root / "stack.tif").rename(service.drop / "stack.tif")
    (service.drop / "img.stackwatch.toml").write_text('name = "pictures"\nlayer_name = "em"')
    for z, slice_yx in enumerate(SLICES):
        tifffile.imwrite(service.root / "one.tif", slice_yx)
        (service.root / "one.tif").rename(service.drop / f"img_{z}.tif")

    await_states(service, "stack.tif", "succeeded")
    await_states(service, "img_#.tif", "succeeded")

    assert [1, 1, 30] == manifest_of(service, "stack")["voxel_size_nm"]
    assert (service.target / "pictures" / "em").is_dir()
    with LedgerReader.open(service.state_dir) as reader:
        keys = {one.key for one in reader.list_acquisitions()}
    assert not [key for key in keys if key.endswith(".toml")]


def test_two_acquisitions_that_meet_in_one_name(service: ServiceBench) -> None:
    """L19: the first keeps the name; the other is parked, and says whose it is."""
    drop(service, "one", 'name = "same"')
    await_states(service, "one", "succeeded")
    before = manifest_of(service, "same")

    drop(service, "two", 'name = "same"')
    await_states(service, "two", "parked")

    (line,) = [one for one in service.events("job.parked") if one["acquisition"] == "two"]
    assert ("target_exists", before) == (line["error_code"], manifest_of(service, "same"))


def test_a_skipped_acquisition_is_taken_up_when_its_sidecar_changes(
    service: ServiceBench,
) -> None:
    """`skip = true` is no error: it is ignored until somebody thinks otherwise."""
    acquisition = drop(service, "later", "skip = true")
    service.wait_until(
        lambda: any(one["acquisition"] == "later" for one in service.events("acquisition.ignored"))
    )
    assert [] == jobs_of(service, "later")

    (acquisition / "stackwatch.toml").write_text("skip = false")
    await_states(service, "later", "succeeded")
