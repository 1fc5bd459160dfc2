"""Conversions on a Dask cluster of real processes on loopback: the same bytes, whatever dies."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackwatch.engine.stream import StreamControl
from stackwatch.errors import CancelledError, ClusterError
from stackwatch.model.flags import ConvertFlags
from stackwatch.model.options import ClusterOptions, ConvertOptions
from stackwatch.model.result import Progress
from stackwatch.pipeline.convert import convert_acquisition
from stackwatch.pipeline.dask_ranges import DaskExecutor
from stackwatch.pipeline.journal import PublishFact
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer

pytestmark = [
    pytest.mark.skipif(shutil.which("dask", path=Path(sys.executable).parent) is None,
                       reason="the extra `dask` is not installed"),
    pytest.mark.filterwarnings("ignore"),  # distributed warns of what is killed here on purpose
]  # fmt: skip

EDGES = (11.24, 11.24, 25.0)


class Cluster:
    """A scheduler and workers, each a process that can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self._port}"
        self.scheduler: subprocess.Popen[bytes]
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self) -> None:
        """Start a scheduler at the cluster's address."""
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", str(self._port))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            time.sleep(0.05)
        pytest.fail("the scheduler did not start")

    def add_worker(self) -> None:
        """Start a worker with one thread."""
        self.workers.append(
            self._start(
                "worker", self.address, "--nthreads", "1", "--nworkers", "1", "--no-nanny",
                "--local-directory", str(self._folder), "--death-timeout", "60",
            )
        )  # fmt: skip

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        program = Path(sys.executable).with_name("dask")
        log = (self._folder / f"{arguments[0]}.log").open("ab")
        with log:
            return subprocess.Popen([program, *arguments, "--no-dashboard"], stdout=log, stderr=log)

    def close(self) -> None:
        """Kill whatever is left."""
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Return a scheduler without workers."""
    folder = tmp_path / "dask"
    folder.mkdir()
    cluster = Cluster(folder)
    cluster.start_scheduler()
    yield cluster
    cluster.close()


class Saboteur:
    """A journal that does something when so many ranges are done."""

    def __init__(self, after: int, deed) -> None:
        self._after = after
        self._deed = deed
        self.last = Progress("")
        self.is_done = False

    def progress(self, progress: Progress) -> None:
        """Remember, and strike once."""
        self.last = progress
        if progress.ranges_done >= self._after and not self.is_done:
            self.is_done = True
            self._deed()

    def record(self, fact: PublishFact) -> None:
        """Agree."""


def options_for(executor: str, scheduler: str = "") -> ConvertOptions:
    """Return options for workers of one thread and a gibibyte."""
    flags = ConvertFlags(
        voxel_size_nm=EDGES, name="run", threads=1, memory_gib=1, executor=executor,
        scheduler=scheduler or None,
    )  # fmt: skip
    return flags.options()


def convert(source: Path, target: Path, options: ConvertOptions, journal: Saboteur) -> Path:
    """Convert and return the dataset."""
    convert_acquisition(ConvertRequest(source, target, options), journal)
    return target


def voxels_and_metadata(dataset: Path) -> dict[str, bytes]:
    """Return every file but the manifest, which names its run."""
    return {
        str(path.relative_to(dataset)): path.read_bytes()
        for path in sorted(dataset.rglob("*"))
        if path.is_file() and path.name != "stackwatch.json"
    }


def acquire(tmp_path: Path, depth: int) -> Path:
    """Write a stack."""
    layer = SyntheticLayer(shape_zyx=(depth, 300, 260), content="em")
    SyntheticAcquisition((layer,)).write(tmp_path / "source")
    return tmp_path / "source"


@pytest.mark.system
def test_a_cluster_writes_the_same_bytes(tmp_path: Path, cluster: Cluster):
    """Two workers write what one process writes."""
    cluster.add_worker()
    cluster.add_worker()
    source, quiet = acquire(tmp_path, 300), Saboteur(10**9, lambda: None)
    local = convert(source, tmp_path / "local" / "run", options_for("local"), quiet)
    there = options_for("dask", cluster.address)
    ranged = convert(source, tmp_path / "dask-run" / "run", there, quiet)

    assert voxels_and_metadata(local) == voxels_and_metadata(ranged)
    assert 1 < quiet.last.ranges_total == quiet.last.ranges_done
    assert (300, 300) == (quiet.last.done, quiet.last.total)


@pytest.mark.system
def test_a_killed_worker_costs_nothing(tmp_path: Path, cluster: Cluster):
    """C29: its range is done again by the other; the dataset is whole, once."""
    cluster.add_worker()
    cluster.add_worker()
    source = acquire(tmp_path, 600)
    local = convert(
        source, tmp_path / "local" / "run", options_for("local"), Saboteur(10**9, lambda: None)
    )
    saboteur = Saboteur(1, lambda: cluster.workers[0].kill())
    there = options_for("dask", cluster.address)
    ranged = convert(source, tmp_path / "dask-run" / "run", there, saboteur)

    assert saboteur.is_done
    assert voxels_and_metadata(local) == voxels_and_metadata(ranged)
    assert ["run"] == [path.name for path in (tmp_path / "dask-run").iterdir()]


@pytest.mark.system
def test_a_lost_scheduler_costs_nothing(tmp_path: Path, cluster: Cluster):
    """C29: scheduler and workers die; others at the same address do what has no receipt."""
    cluster.add_worker()
    source = acquire(tmp_path, 600)
    local = convert(
        source, tmp_path / "local" / "run", options_for("local"), Saboteur(10**9, lambda: None)
    )

    def restart() -> None:
        cluster.close()
        cluster.start_scheduler()
        cluster.add_worker()

    saboteur = Saboteur(2, restart)
    there = options_for("dask", cluster.address)
    ranged = convert(source, tmp_path / "dask-run" / "run", there, saboteur)

    assert saboteur.is_done
    assert voxels_and_metadata(local) == voxels_and_metadata(ranged)
    assert ["run"] == [path.name for path in (tmp_path / "dask-run").iterdir()]


KILLED = """
import os, signal, sys
from pathlib import Path
from stackwatch.model.flags import ConvertFlags
from stackwatch.pipeline.convert import convert_acquisition
from stackwatch.pipeline.journal import SilentJournal
from stackwatch.pipeline.request import ConvertRequest

class Killed(SilentJournal):
    def progress(self, progress):
        if progress.ranges_done >= 2:
            os.kill(os.getpid(), signal.SIGKILL)

options = ConvertFlags(
    voxel_size_nm=(11.24, 11.24, 25.0), name="run", threads=1, memory_gib=1, executor="dask",
    scheduler=sys.argv[3],
).options()
convert_acquisition(ConvertRequest(Path(sys.argv[1]), Path(sys.argv[2]), options), Killed())
"""


@pytest.mark.system
def test_a_killed_conversion_goes_on(tmp_path: Path, cluster: Cluster):
    """Kill -9 of the conversion, not of its workers: the next one takes their ranges over.

    What they still worked on for the first one is stopped, or counts; the bytes are the same.
    """
    cluster.add_worker()
    cluster.add_worker()
    source, target = acquire(tmp_path, 600), tmp_path / "dask-run" / "run"
    local = convert(
        source, tmp_path / "local" / "run", options_for("local"), Saboteur(10**9, lambda: None)
    )
    command = [sys.executable, "-c", KILLED, str(source), str(target), cluster.address]
    killed = subprocess.run(command, check=False)
    quiet = Saboteur(10**9, lambda: None)
    ranged = convert(source, target, options_for("dask", cluster.address), quiet)

    assert -signal.SIGKILL == killed.returncode
    assert 2 <= quiet.last.ranges_taken < quiet.last.ranges_total == quiet.last.ranges_done
    assert voxels_and_metadata(local) == voxels_and_metadata(ranged)
    assert ["run"] == [path.name for path in (tmp_path / "dask-run").iterdir()]


@pytest.mark.system
def test_a_worker_that_hangs_and_comes_back_harms_nobody(tmp_path: Path, cluster: Cluster):
    """C29: a worker is stopped for a while in the middle of a range: the dataset is the same."""
    cluster.add_worker()
    cluster.add_worker()
    source = acquire(tmp_path, 600)
    local = convert(
        source, tmp_path / "local" / "run", options_for("local"), Saboteur(10**9, lambda: None)
    )
    frozen = cluster.workers[0]
    saboteur = Saboteur(1, lambda: os.kill(frozen.pid, signal.SIGSTOP))
    thaw = subprocess.Popen(["sh", "-c", f"sleep 6; kill -CONT {frozen.pid}"])
    there = options_for("dask", cluster.address)
    ranged = convert(source, tmp_path / "dask-run" / "run", there, saboteur)
    thaw.wait()

    assert voxels_and_metadata(local) == voxels_and_metadata(ranged)


@pytest.mark.system
def test_no_scheduler_is_a_clear_error(tmp_path: Path):
    """Nobody at the address: what it means and what to do, and nothing stays behind."""
    pytest.importorskip("distributed")
    source = acquire(tmp_path, 40)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ClusterError, match="cannot be used") as caught:
            convert(
                source, tmp_path / "out" / "run", options_for("dask", address),
                Saboteur(10**9, lambda: None),
            )  # fmt: skip

    assert address in caught.value.message
    assert "dask scheduler" in caught.value.hint
    assert [] == list((tmp_path / "out").iterdir())


@pytest.mark.system
def test_a_scheduler_that_never_answers_again_is_given_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    """It takes connections and says nothing of use: after `lost_after_s` that is an error."""
    distributed = pytest.importorskip("distributed")
    asked = []

    def refuse(_client: object, **_: object) -> None:
        asked.append(time.monotonic())
        raise OSError("lost again")

    executor = DaskExecutor(ClusterOptions(scheduler=cluster.address, lost_after_s=1.5))
    monkeypatch.setattr(distributed.Client, "get_versions", refuse)
    with contextlib.closing(executor), pytest.raises(ClusterError, match="lost again"):
        executor._reconnect(StreamControl(lambda: None), lambda: None)

    assert 2 <= len(asked)


@pytest.mark.system
def test_workers_that_do_not_see_our_files_are_told_of(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    """An order that workers cannot see: an error that says so, and not that workers were lost."""
    cluster.add_worker()
    (tmp_path / "here" / "orders").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    order = Path("orders/order")  # where the worker runs, this leads nowhere
    order.touch()
    executor = DaskExecutor(options_for("dask", cluster.address).resources.cluster)
    try:
        with pytest.raises(ClusterError, match="do not see “orders”"):
            executor.carry_out(order, [0], lambda *_: None, StreamControl(), lambda: None)
    finally:
        executor.close()


@pytest.mark.system
def test_waiting_for_a_worker_is_no_stall(tmp_path: Path, cluster: Cluster):
    """As long as no worker is there, each look counts as a step; a request to stop is obeyed."""
    executor = DaskExecutor(options_for("dask", cluster.address).resources.cluster)
    steps = 0
    control = StreamControl()

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            control.cancelled.set()

    control.on_step = step
    (tmp_path / "order").touch()
    try:
        with pytest.raises(CancelledError):
            executor.carry_out(tmp_path / "order", [0], lambda *_: None, control, lambda: None)
    finally:
        executor.close()

    assert 3 == steps
