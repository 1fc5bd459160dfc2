"""The daemon and files with several images: one job, and several datasets."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from stackwatch.daemon.staging import read_run_id
from stackwatch.ledger.reader import LedgerReader
from stackwatch.testing.crashes import list_datasets, list_jobs
from stackwatch.testing.micro_manager import MicroManagerRun, write_image_files
from stackwatch.testing.service import ServiceBench, bench

IMAGES: dict[str, np.ndarray] = {
    "A": np.arange(4 * 9 * 7, dtype=np.uint16).reshape(4, 9, 7),
    "B": np.arange(2 * 5 * 8, dtype=np.uint8).reshape(2, 5, 8),
}


def drop_images(service: ServiceBench, name: str, images: dict[str, np.ndarray]) -> Path:
    """Drop a folder with one OME-TIFF, or write that file anew."""
    built = service.root / "run.ome.tif"
    with tifffile.TiffWriter(built, ome=True) as writer:
        for scene, image_zyx in images.items():
            told = {"axes": "ZYX", "Name": scene}
            writer.write(image_zyx, photometric="minisblack", metadata=told)
    (service.drop / name).mkdir(exist_ok=True)
    built.rename(service.drop / name / "run.ome.tif")
    return service.drop / name / "run.ome.tif"


def await_states(service: ServiceBench, acquisition: str, *states: str) -> None:
    """Wait until the jobs of an acquisition, oldest first, are in these states."""

    def found() -> list[str]:
        jobs = [job for job in list_jobs(service) if job.key == acquisition]
        return [str(job.state) for job in reversed(jobs)]

    service.wait_until(lambda: list(states) == found())


def acquisition_state(service: ServiceBench, key: str) -> str:
    """Return the state of an acquisition; empty while it is not known."""
    with LedgerReader.open(service.state_dir) as reader:
        return next((str(one.state) for one in reader.list_acquisitions() if one.key == key), "")


def states_of(service: ServiceBench, acquisition: str) -> dict[str, str]:
    """Return the states of the datasets of an acquisition by name, the newest of each place."""
    records = [one for one in list_datasets(service) if one.key == acquisition]
    return {one.path.name: str(one.state) for one in records}


def voxels_of(service: ServiceBench, name: str) -> np.ndarray:
    """Return mag 1 of a dataset as z, y, x."""
    stored = zarr.open_array(service.target / name / "color" / "1", mode="r")
    return np.asarray(stored[0]).transpose(2, 1, 0)


def jobs_show(service: ServiceBench, job_id: int) -> dict[str, Any]:
    """Return what `stackwatch jobs show` tells of a job."""
    ended = subprocess.run(
        [sys.executable, "-m", "stackwatch", "jobs", "show", str(job_id), "--json",
         "--config", str(service.config)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory):
    """A running daemon with the real conversion."""
    with bench(tmp_path_factory.mktemp("scenes"), worker=None) as made:
        made.start()
        yield made


def test_every_generation_has_all_its_datasets(living: ServiceBench) -> None:
    """A change makes `run-r2_A` and `run-r2_B`; touching makes nothing; the job shows them all."""
    file = drop_images(living, "run", IMAGES)
    await_states(living, "run", "succeeded")
    file.touch()
    living.wait_until(lambda: any("content is the same" in str(line.get("reason"))
                                  for line in living.events("acquisition.settled")))  # fmt: skip
    assert {"run_A": "published", "run_B": "published"} == states_of(living, "run")

    drop_images(living, "run", {name: image + 1 for name, image in IMAGES.items()})
    await_states(living, "run", "succeeded", "succeeded")

    assert {
        "run_A": "superseded",
        "run_B": "superseded",
        "run-r2_A": "published",
        "run-r2_B": "published",
    } == states_of(living, "run")
    for name, image_zyx in IMAGES.items():
        np.testing.assert_array_equal(image_zyx, voxels_of(living, f"run_{name}"))
        np.testing.assert_array_equal(image_zyx + 1, voxels_of(living, f"run-r2_{name}"))
    (job,) = [job for job in list_jobs(living) if (job.key, job.generation) == ("run", 2)]
    shown = jobs_show(living, job.job_id)
    assert ["run-r2_A", "run-r2_B"] == [Path(one["path"]).name for one in shown["datasets"]]


def test_a_name_that_another_acquisition_has_parks_all(living: ServiceBench) -> None:
    """An image whose dataset would take another one's place: nothing of its file is published."""
    drop_images(living, "met_B", {"only": IMAGES["A"]})
    await_states(living, "met_B", "succeeded")
    before = read_run_id(living.target / "met_B")

    drop_images(living, "met", IMAGES)
    await_states(living, "met", "parked")

    assert before == read_run_id(living.target / "met_B")
    assert not (living.target / "met_A").exists()
    assert {} == states_of(living, "met")


@pytest.mark.parametrize("scenes", ["B", "2"])
def test_the_setting_names_the_one_to_convert(tmp_path: Path, scenes: str) -> None:
    """`scenes` of a folder: one dataset, under the plain name."""
    with bench(tmp_path, worker=None, folder=f'scenes = "{scenes}"') as service:
        drop_images(service, "run", IMAGES)
        service.start()
        await_states(service, "run", "succeeded")

        assert ["run"] == service.datasets()
        np.testing.assert_array_equal(IMAGES["B"], voxels_of(service, "run"))


def test_each_dataset_takes_the_place_of_its_own(tmp_path: Path) -> None:
    """With `replace` names stay; of an image that is gone the dataset stays, flagged."""
    with bench(tmp_path, worker=None, folder='on_change = "replace"') as service:
        drop_images(service, "run", {**IMAGES, "C": IMAGES["A"]})
        service.start()
        await_states(service, "run", "succeeded")
        older = {name: read_run_id(service.target / name) for name in service.datasets()}

        drop_images(service, "run", {name: image + 1 for name, image in IMAGES.items()})
        await_states(service, "run", "succeeded", "succeeded")

        newer = {name: read_run_id(service.target / name) for name in service.datasets()}
        assert ["run_A", "run_B", "run_C"] == sorted(newer)
        assert ["run_C"] == [name for name in newer if newer[name] == older[name]]
        assert {"run_A": "published", "run_B": "published", "run_C": "superseded"} == states_of(
            service, "run"
        )
        np.testing.assert_array_equal(IMAGES["B"] + 1, voxels_of(service, "run_B"))


def test_sources_go_when_every_dataset_is_verified(tmp_path: Path) -> None:
    """A file with several images is archived once all of its datasets stand at their places."""
    archive = tmp_path / "archive"
    archive.mkdir()
    (tmp_path / "bench").mkdir()
    folder = (
        f'on_success = "archive"\non_success_dry_run = false\narchive_to = "{archive}"\n'
        "retention_h = 0"
    )
    with bench(tmp_path / "bench", worker=None, folder=folder) as service:
        drop_images(service, "run", IMAGES)
        service.start()
        await_states(service, "run", "succeeded")
        service.wait_until(lambda: (archive / "run" / "run.ome.tif").exists())

        assert ["run_A", "run_B"] == service.datasets()
        assert not (service.drop / "run").exists()


def test_an_instrument_that_still_acquires_is_waited_for(living: ServiceBench) -> None:
    """Micro-Manager's open metadata: incomplete, until the rest and the closing brace are there."""
    run = MicroManagerRun(positions=("Pos0", "Pos1"), channels=("DAPI",))
    place = living.drop / "cells"
    write_image_files(place, run, missing=[(1, 0, 0, 1), (1, 0, 0, 2)], is_closed=False)
    living.wait_until(lambda: "incomplete" == acquisition_state(living, "cells"))
    assert {} == states_of(living, "cells")

    write_image_files(place, run)

    both = {"cells_Pos0": "published", "cells_Pos1": "published"}
    living.wait_until(lambda: both == states_of(living, "cells"))
    expected = np.stack([run.plane((1, 0, 0, z)) for z in range(3)])
    assert np.array_equal(expected, voxels_of(living, "cells_Pos1"))
