"""One dataset for each content: late files, changes, returns, and what happens while it is read."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from stackwatch.daemon.staging import read_run_id
from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import DatasetRecord, Job
from stackwatch.model.job import DatasetState, JobState
from stackwatch.pipeline.verify import verify_dataset
from stackwatch.testing.crashes import list_datasets
from stackwatch.testing.mags import stored_files
from stackwatch.testing.service import ServiceBench, bench

NO_EXCHANGE = """
import errno, sys
from stackwatch.daemon.worker_main import main
from stackwatch.stores import publish

rename = publish._renameat2
publish._renameat2 = lambda one, other, flags: (
    errno.EINVAL if flags == 2 else rename(one, other, flags)
)
sys.exit(main())
"""


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory):
    """One running daemon, with a stand-in for the conversion."""
    with bench(tmp_path_factory.mktemp("generations"), daemon="workers = 2") as made:
        made.start()
        yield made


def jobs_of(service: ServiceBench, acquisition: str) -> list[Job]:
    """Return the jobs of an acquisition, oldest first."""
    with LedgerReader.open(service.state_dir) as reader:
        return [job for job in reversed(reader.list_jobs()) if job.key == acquisition]


def datasets_of(service: ServiceBench, acquisition: str) -> dict[str, str]:
    """Return the states of the datasets that were made of an acquisition, by name."""
    return {one.name: str(one.state) for one in records_of(service, acquisition)}


def records_of(service: ServiceBench, acquisition: str) -> list[DatasetRecord]:
    """Return the datasets that were made of an acquisition, oldest first."""
    return [one for one in list_datasets(service) if one.key == acquisition]


def await_states(service: ServiceBench, acquisition: str, *states: str) -> None:
    """Wait until the jobs of an acquisition are in these states."""
    service.wait_until(
        lambda: list(states) == [str(job.state) for job in jobs_of(service, acquisition)]
    )


def state_of(service: ServiceBench, acquisition: str) -> str:
    """Return the state of an acquisition."""
    with LedgerReader.open(service.state_dir) as reader:
        found = [one for one in reader.list_acquisitions() if one.key == acquisition]
    return str(found[0].state) if found else ""


def await_same(service: ServiceBench, acquisition: str, times: int = 1) -> None:
    """Wait until the contents of an acquisition were compared so often and found equal."""
    service.wait_until(
        lambda: (
            times
            == sum(
                1
                for line in service.events("acquisition.settled")
                if line["acquisition"] == acquisition and "content" in str(line.get("reason"))
            )
        )
    )


# ---------------------------------------------------------------- later generations


@pytest.mark.parametrize("change", ["late file", "other content"])
def test_a_later_content_is_a_generation_of_its_own(living: ServiceBench, change: str) -> None:
    """E1, D6: after a pause beyond the gap comes more: `-r2`, and the older one is flagged."""
    name = "late" if change == "late file" else "altered"
    acquisition = living.drop_acquisition(name, {"1.tif": b"one", "2.tif": b"two"})
    await_states(living, name, "succeeded")
    published = stored_files(living.target / name)

    late = "3.tif" if change == "late file" else "2.tif"
    (acquisition / late).write_bytes(b"six")
    await_states(living, name, "succeeded", "succeeded")

    assert published == stored_files(living.target / name)
    assert b"six" in (living.target / f"{name}-r2" / "data").read_bytes()
    assert {name: "superseded", f"{name}-r2": "published"} == datasets_of(living, name)
    (line,) = [e for e in living.events("dataset.superseded") if e["acquisition"] == name]
    assert (str(living.target / name), 2) == (line["path"], line["generation"])


@pytest.mark.system
def test_another_content_under_the_same_name(living: ServiceBench) -> None:
    """D4: A is removed, another A is dropped: it is converted too, and flags the older one."""
    acquisition = living.drop_acquisition("again", {"1.tif": b"first"})
    await_states(living, "again", "succeeded")
    shutil.rmtree(acquisition)

    living.drop_acquisition("again-2", {"1.tif": b"other"}).rename(acquisition)
    await_states(living, "again", "succeeded", "succeeded")

    assert b"other" == (living.target / "again-r2" / "data").read_bytes()
    assert {"again": "superseded", "again-r2": "published"} == datasets_of(living, "again")


@pytest.mark.system
def test_what_is_forgotten_while_it_is_compared(living: ServiceBench) -> None:
    """A person forgets it while its contents are compared: the word of the person holds."""
    acquisition = living.drop_acquisition("forgotten", {"ponder": b"1"})
    await_states(living, "forgotten", "succeeded")
    (acquisition / "ponder").write_bytes(b"2")
    living.wait_until((living.root / "pondering").exists)

    living.ask("forget", path=str(acquisition))
    (living.root / "go").touch()
    living.drop_acquisition("after", {"1.tif": b"1"})
    await_states(living, "after", "succeeded")
    (living.drop / "after" / "1.tif").write_bytes(b"2")
    await_states(living, "after", "succeeded", "succeeded")  # compared after the other

    assert "ignored" == state_of(living, "forgotten")
    assert 1 == len(jobs_of(living, "forgotten"))


@pytest.mark.system
def test_the_same_content_under_another_name(living: ServiceBench) -> None:
    """D5: a copy is converted, since somebody wanted it; log and history name its twin."""
    acquisition = living.drop_acquisition("original", {"1.tif": b"the same"})
    await_states(living, "original", "succeeded")

    shutil.copytree(acquisition, living.root / "copy")
    (living.root / "copy").rename(living.drop / "copy")
    await_states(living, "copy", "succeeded")

    (line,) = [e for e in living.events("dataset.published") if e.get("acquisition") == "copy"]
    assert str(living.target / "original") in line["reason"]
    (job,) = jobs_of(living, "copy")
    with LedgerReader.open(living.state_dir) as reader:
        details = reader.show_job(job.job_id)
    assert details is not None
    (event,) = [one for one in details.events if one.event == "dataset.has_twin"]
    assert str(living.target / "original") == event.facts["twin"]


@pytest.mark.system
def test_a_scanner_that_closes_its_file_again_and_again(living: ServiceBench) -> None:
    """D1: five times opened, written and closed: one job, one dataset."""
    path = living.drop / "scan.tif"
    for _ in range(5):
        with path.open("ab") as file:
            file.write(b"page")

    await_states(living, "scan.tif", "succeeded")

    assert b"page" * 5 == (living.target / "scan" / "data").read_bytes()
    assert {"scan": "published"} == datasets_of(living, "scan.tif")


# ---------------------------------------------------------------- the same content, once more


@pytest.mark.system
def test_a_copy_over_itself_converts_nothing(living: ServiceBench) -> None:
    """D13: `cp -p` over each file by rename: other inodes, the same content."""
    acquisition = living.drop_acquisition("over", {"1.tif": b"one", "2.tif": b"two"})
    await_states(living, "over", "succeeded")

    for path in sorted(acquisition.iterdir()):
        shutil.copy2(path, living.root / "over.copy")
        (living.root / "over.copy").rename(path)
    await_same(living, "over")

    assert {"over": "published"} == datasets_of(living, "over")
    assert ("published", 1) == (state_of(living, "over"), len(jobs_of(living, "over")))


@pytest.mark.system
def test_an_acquisition_that_is_away_for_a_while_converts_nothing(living: ServiceBench) -> None:
    """D3: gone, and back with other inodes and the same times."""
    acquisition = living.drop_acquisition("away", {"1.tif": b"one", "2.tif": b"two"})
    await_states(living, "away", "succeeded")
    shutil.copytree(acquisition, living.root / "away.copy")
    shutil.rmtree(acquisition)
    living.wait_until(lambda: any(
        line["acquisition"] == "away" for line in living.events("acquisition.vanished")
    ))  # fmt: skip

    (living.root / "away.copy").rename(acquisition)
    await_same(living, "away")

    assert {"away": "published"} == datasets_of(living, "away")
    assert ("published", 1) == (state_of(living, "away"), len(jobs_of(living, "away")))


@pytest.mark.system
def test_a_content_that_is_back_after_a_parked_one_is_published_again(
    living: ServiceBench,
) -> None:
    """D3, D6: A, then B which is parked, then A: A's dataset counts, nothing is converted."""
    acquisition = living.drop_acquisition("aba", {"1.tif": b"one"})
    await_states(living, "aba", "succeeded")
    (acquisition / "missing").write_bytes(b"x")
    await_states(living, "aba", "succeeded", "parked")
    assert {"aba": "superseded"} == datasets_of(living, "aba")

    (acquisition / "missing").unlink()
    await_same(living, "aba")

    assert {"aba": "published"} == datasets_of(living, "aba")
    await_states(living, "aba", "succeeded", "failed")
    assert "published" == state_of(living, "aba")
    assert "aba-r2" not in living.datasets()

    (acquisition / "2.tif").write_bytes(b"two")
    await_states(living, "aba", "succeeded", "failed", "succeeded")
    assert {"aba": "superseded", "aba-r2": "published"} == datasets_of(living, "aba")


# ---------------------------------------------------------------- in flight


@pytest.mark.system
def test_dropped_removed_before_its_turn_and_dropped_again(tmp_path: Path) -> None:
    """L13: what vanished before its turn is no reason to pass it over when it is back."""
    with bench(tmp_path) as service:
        service.drop_acquisition("first", {"pause": b"", "1.tif": b"1"})
        service.start()
        await_states(service, "first", "claimed")
        acquisition = service.drop_acquisition("second", {"1.tif": b"2"})
        await_states(service, "second", "queued")
        acquisition.rename(service.root / "second")
        await_states(service, "second", "failed")

        (service.root / "second").rename(acquisition)
        await_states(service, "second", "queued")
        (service.root / "go").touch()
        await_states(service, "second", "succeeded")

        assert b"2" == (service.target / "second" / "data").read_bytes()


def stack_of(slices: int) -> np.ndarray:
    """Return voxels that differ everywhere."""
    return np.arange(slices * 9 * 7, dtype=np.uint16).reshape(slices, 9, 7)


def drop_stack(service: ServiceBench, name: str, stack_zyx: np.ndarray) -> Path:
    """Drop slices in one go."""
    built = service.root / f"building-{name}"
    built.mkdir()
    for z, slice_yx in enumerate(stack_zyx):
        tifffile.imwrite(built / f"slice_{z}.tif", slice_yx)
    return built.rename(service.drop / name)


def await_frozen(service: ServiceBench) -> int:
    """Wait until a worker stands still in mid reading, and return its process id."""
    found: list[int] = []

    def is_frozen() -> bool:
        with LedgerReader.open(service.state_dir) as reader:
            claimed = [job for job in reader.list_jobs() if job.state is JobState.CLAIMED]
        for job in claimed:
            stat = Path(f"/proc/{job.worker_pid}/stat")
            if job.worker_pid and stat.exists() and ") T " in stat.read_text():
                found.append(job.worker_pid)
        return bool(found)

    service.wait_until(is_frozen)
    return found[0]


def go_on(service: ServiceBench) -> None:
    """Let every worker go on that stands still, until nothing is left to be done."""

    def is_done() -> bool:
        with LedgerReader.open(service.state_dir) as reader:
            jobs = reader.list_jobs()
            is_settled = all(
                one.state in ("published", "parked") for one in reader.list_acquisitions()
            )
        for job in jobs:
            if job.state is JobState.CLAIMED and job.worker_pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(job.worker_pid, signal.SIGCONT)
            if job.state is JobState.WAITING:
                service.ask("retry", job=job.job_id)
        return is_settled and not any(
            job.state in (JobState.CLAIMED, JobState.QUEUED, JobState.WAITING) for job in jobs
        )

    service.wait_until(is_done)


def touch_and_chmod(acquisition: Path) -> None:
    """Do what a virus scanner or a backup does."""
    for path in acquisition.iterdir():
        path.touch()
        path.chmod(0o600)


def add_last(acquisition: Path) -> None:
    """Let the last slice come late."""
    tifffile.imwrite(acquisition / "slice_5.tif", stack_of(6)[5])


def rewrite_last(acquisition: Path) -> None:
    """Truncate the last slice, and write it once more, with other voxels."""
    os.truncate(acquisition / "slice_4.tif", 100)
    tifffile.imwrite(acquisition / "slice_4.tif", stack_of(5)[0])


def remove_last(acquisition: Path) -> None:
    """Delete the last slice."""
    (acquisition / "slice_4.tif").unlink()


@pytest.mark.parametrize(
    ("change", "expected_zyx"),
    [
        pytest.param(touch_and_chmod, stack_of(5), id="D2-touch"),
        pytest.param(add_last, stack_of(6), id="D7-late slice"),
        pytest.param(
            rewrite_last, np.concatenate([stack_of(5)[:4], stack_of(5)[:1]]), id="D8-truncate"
        ),
        pytest.param(remove_last, stack_of(4), id="D8-delete"),
    ],
)
@pytest.mark.system
def test_a_change_while_it_is_read(
    tmp_path: Path, change: Callable[[Path], None], expected_zyx: np.ndarray
) -> None:
    """D2, D7, D8: the worker stands in mid reading: what it has made is thrown away, once."""
    with bench(tmp_path, worker=None) as service:
        acquisition = drop_stack(service, "run", stack_of(5))
        service.start("convert.slice_read:2:freeze")
        await_frozen(service)

        change(acquisition)
        go_on(service)

        records = records_of(service, "run")
        assert [("run", DatasetState.PUBLISHED)] == [(one.name, one.state) for one in records]
        stored = zarr.open_array(service.target / "run" / "color" / "1", mode="r")
        np.testing.assert_array_equal(expected_zyx.transpose(2, 1, 0), np.asarray(stored[0]))
        jobs = jobs_of(service, "run")
        assert 2 >= len(jobs)
        assert 1 == sum(job.state is JobState.SUCCEEDED for job in jobs)
        codes = [line["error_code"] for line in service.events("job.failed")]
        codes += [line["error_code"] for line in service.events("job.superseded")]
        assert {"changed_during_conversion"} >= set(codes)
        assert not list((service.target / ".stackwatch").glob("[0-9]*-[0-9]*"))


@pytest.mark.system
def test_a_folder_that_is_removed_while_it_is_read_and_dropped_again(tmp_path: Path) -> None:
    """D8, L13: nothing is published of what is gone; what is dropped again is converted."""
    with bench(tmp_path, worker=None) as service:
        acquisition = drop_stack(service, "run", stack_of(5))
        service.start("convert.slice_read:2:freeze")
        worker = await_frozen(service)

        shutil.rmtree(acquisition)
        os.kill(worker, signal.SIGCONT)
        service.wait_until(lambda: bool(service.events("acquisition.vanished")))
        service.wait_until(
            lambda: all(job.state is not JobState.CLAIMED for job in jobs_of(service, "run"))
        )
        assert "run" not in service.datasets()

        drop_stack(service, "run", stack_of(4))
        go_on(service)
        assert [("run", DatasetState.PUBLISHED)] == [
            (one.name, one.state) for one in records_of(service, "run")
        ]
        verify_dataset(service.target / "run")


# ---------------------------------------------------------------- replacing


def test_a_worker_killed_between_two_renames(tmp_path: Path) -> None:
    """C1, C17: replacing without an exchange: the place is filled again, with the new dataset."""
    worker = tmp_path / "worker.py"
    worker.write_text(NO_EXCHANGE)
    (tmp_path / "bench").mkdir()
    with bench(tmp_path / "bench", worker=worker, folder='on_change = "replace"') as service:
        acquisition = drop_stack(service, "run", stack_of(5))
        service.start("publish.between_renames")
        await_states(service, "run", "succeeded")
        older = read_run_id(service.target / "run")

        add_last(acquisition)
        await_states(service, "run", "succeeded", "succeeded")

        old, new = records_of(service, "run")
        assert (DatasetState.SUPERSEDED, DatasetState.PUBLISHED) == (old.state, new.state)
        assert (older, new.run_id) == (old.run_id, read_run_id(service.target / "run"))
        stored = zarr.open_array(service.target / "run" / "color" / "1", mode="r")
        np.testing.assert_array_equal(stack_of(6).transpose(2, 1, 0), np.asarray(stored[0]))
        killed = [e for e in service.events("worker.stopped") if "killed" in str(e["reason"])]
        assert 1 == len(killed)
        assert not list((service.target / ".stackwatch").glob("[0-9]*-[0-9]*"))
