"""The daemon with the real conversion: slices dropped one by one become one dataset."""

import shutil

import numpy as np
import pytest
import tifffile
import zarr

from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.preview import preview_path
from stackwatch.pipeline.verify import verify_dataset
from stackwatch.testing.service import bench

STACK_ZYX = np.arange(5 * 11 * 7, dtype=np.uint16).reshape(5, 11, 7)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A running daemon with the real worker, and one acquisition converted."""
    with bench(tmp_path_factory.mktemp("real"), worker=None) as made:
        made.start()
        acquisition = made.drop / "run_041"
        acquisition.mkdir()
        for z, slice_yx in enumerate(STACK_ZYX):
            # written aside and moved in: what is half written must not be seen as a slice
            tifffile.imwrite(made.root / "slice.tif", slice_yx)
            shutil.move(made.root / "slice.tif", acquisition / f"slice_{z}.tif")
        made.wait_until(lambda: count(made) == 1)
        yield made


def count(service) -> int:
    """Return how many jobs have succeeded."""
    status = service.status()
    return status["jobs"]["succeeded"] if status else 0


def read_xyz(service, name: str) -> np.ndarray:
    """Return mag 1 of a dataset."""
    return np.asarray(zarr.open_array(service.target / name / "color" / "1", mode="r")[0])


def test_the_dataset_holds_every_slice(service):
    """Values, manifest and result agree."""
    np.testing.assert_array_equal(STACK_ZYX.transpose(2, 1, 0), read_xyz(service, "run_041"))
    verify_dataset(service.target / "run_041")
    with LedgerReader.open(service.state_dir) as reader:
        (job,) = [job for job in reader.list_jobs() if job.key == "run_041"]
    assert job.result is not None
    assert "succeeded" == job.result["status"]
    assert 5 == job.files


def test_touched_slices_and_a_note_change_nothing_but_the_mark(service):
    """D2: the real digest decides: nothing is converted again."""
    before = count(service)
    for path in (service.drop / "run_041").glob("slice_*.tif"):
        path.touch()
    (service.drop / "run_041" / "notes.txt").write_text("looks good")

    service.wait_until(lambda: any("reason" in line
                                   for line in service.events("acquisition.settled")))  # fmt: skip
    assert before == count(service)
    assert "run_041-r2" not in service.datasets()


def test_an_acquisition_that_cannot_be_read_is_parked_with_a_hint(service):
    """A text file named .tif: the canonical line says what to do."""
    service.drop_acquisition("broken", {"a_0.tif": b"no image", "a_1.tif": b"neither"})

    service.wait_until(lambda: any(line.get("acquisition") == "broken"
                                   for line in service.events("job.parked")))  # fmt: skip

    (line,) = [e for e in service.events("job.parked") if e["acquisition"] == "broken"]
    assert line["hint"]
    assert "broken" not in service.datasets()
    assert ".stackwatch" not in service.datasets()


def test_a_picture_of_the_dataset_is_left(service):
    """The worker draws it after its last word, under the name that the page asks for."""
    with LedgerReader.open(service.state_dir) as reader:
        (job,) = [job for job in reader.list_jobs() if job.key == "run_041"]
        details = reader.show_job(job.job_id)
    assert details is not None
    picture = preview_path(service.state_dir, details.datasets[0].run_id)
    assert picture is not None

    assert picture in list(picture.parent.iterdir())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [] == service.events("preview.failed")
