"""Kill -9 while a dataset is delivered: one dataset on the server, whole, once.

At every named point of a delivery the process is killed, alone or together with the daemon, or the
daemon in the middle of its own commits; then it is started again, killed again, started again. The
server is a process of its own and lives on.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stackwatch import convert
from stackwatch.failpoints import DELIVERY_FAILPOINTS
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import NewDataset
from stackwatch.model.delivery import DeliveryState
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.job import NewJob
from stackwatch.pipeline.manifest import load_manifest
from stackwatch.testing.crashes import Story, check_ledger, play, until
from stackwatch.testing.deliveries import DeliveringBench, RemoteServer, tree_of

IN_DAEMON = ("delivery.before_commit", "delivery.committed")
IN_PROCESS = tuple(point for point in DELIVERY_FAILPOINTS if point not in IN_DAEMON)
ALONE = (*(f"{point}:1" for point in IN_PROCESS), "delivery.chunk_sent:3")
TOGETHER = tuple(f"{point}:1:both" for point in IN_PROCESS)
POINTS = (*ALONE, *TOGETHER, *IN_DAEMON)
SOME_PAIRS = random.Random(6).sample(list(itertools.product(POINTS, repeat=2)), 3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a numbered sequence of TIFFs."""
    root = tmp_path_factory.mktemp("run")
    for z in range(3):
        tifffile.imwrite(root / f"slice_{z}.tif", np.full((90, 70), 1 + z, np.uint8))
    return root


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RemoteServer]:
    """Return a server that no kill reaches."""
    with RemoteServer(tmp_path / "wk") as made:
        yield made
        assert [] == made.state()["mishaps"]


def test_two_kills_in_a_row_leave_one_whole_dataset_on_the_server(tmp_path, source, server):
    """C21: seeded pairs of points, in the delivery, in the daemon, in both at once."""
    kill_deliveries(tmp_path, source, server, SOME_PAIRS)


@pytest.mark.system
@pytest.mark.timeout(0)
def test_a_kill_at_any_point_leaves_one_whole_dataset_on_the_server(tmp_path, source, server):
    """C21: each point once."""
    kill_deliveries(tmp_path, source, server, [(point,) for point in POINTS])


@pytest.mark.system
@pytest.mark.timeout(0)
@pytest.mark.parametrize("first", POINTS)
def test_every_pair_of_kills_leaves_one_whole_dataset_on_the_server(
    tmp_path, source, server, first
):
    """C21: all pairs of points."""
    kill_deliveries(tmp_path, source, server, [(first, second) for second in POINTS])


def kill_deliveries(
    root: Path, source: Path, server: RemoteServer, cases: Sequence[Sequence[str]]
) -> None:
    """Play stories side by side on one server, each with a dataset of its own name."""
    play(
        delivery_story(root / f"{number}", f"run_{number}", source, server, points)
        for number, points in enumerate(cases)
    )


def delivery_story(
    root: Path, name: str, source: Path, server: RemoteServer, points: Sequence[str]
) -> Story:
    """Kill at each point in turn, then let it come to its end, and look at the server."""
    root.mkdir()
    service = DeliveringBench(root, server.url, server.token)
    try:
        publish(service, name, source)
        for number, point in enumerate(points):
            yield from run_into(service, point, is_sure=number == 0)
        service.start(is_awaited=False)
        yield from until(service, lambda: is_delivered(service))
        yield from until(service, lambda: service.status() is not None)
        assert service.stop() == 0, service.tail()
        check_the_end(service, name, server)
    finally:
        service.close()


def publish(service: DeliveringBench, name: str, source: Path) -> None:
    """Put a dataset into the target and the ledger, as a job would."""
    place = service.target / name
    convert(source, place, voxel_size_nm=(1, 1, 1))
    manifest, _ = load_manifest(place)
    with Ledger.open(service.state_dir) as ledger:
        ledger.folders.upsert("em", service.drop, service.target)
        sighting = Sighting(name, name, AcquisitionKind.FOLDER, name, (), 3, 3, 0, "m", "s")
        ledger.folders.record_settling("em", sighting)
        job = ledger.jobs.queue(NewJob("em", name, 1, "m", 3, 3, "s"))
        ledger.jobs.claim()
        new = NewDataset(place, place, manifest["run_id"], manifest["content_digest"])
        ledger.datasets.record_publishing(job.job_id, new)
        ledger.datasets.record_published(new.run_id, place)
        ledger.jobs.succeed(job.job_id)


def run_into(service: DeliveringBench, point: str, *, is_sure: bool) -> Story:
    """Run the daemon until a kill at this point; then the daemon is dead in any case."""
    before = len(service.events("delivery.failed"))
    service.start(point, is_awaited=False)

    def was_reached() -> bool:
        return not service.is_running() or len(service.events("delivery.failed")) > before

    yield from until(service, lambda: was_reached() or is_delivered(service))
    assert was_reached() or not is_sure, f"{point} was never reached; {service.tail()}"
    service.close()


def is_delivered(service: DeliveringBench) -> bool:
    """Tell whether all is done; what waits after a kill is tried again at once."""
    if not service.is_running() or service.status() is None:
        return False
    found = service.deliveries()
    for one in found:
        if one.state in (DeliveryState.QUEUED, DeliveryState.PAUSED) and one.not_before_us:
            service.ask("retry", delivery=one.delivery_id)
    return bool(found) and all(one.state is DeliveryState.DELIVERED for one in found)


def check_the_end(service: DeliveringBench, name: str, server: RemoteServer) -> None:
    """One dataset of this name, active, with every byte; and the ledger knows it."""
    check_ledger(service.state_dir / "ledger.db")
    state = server.state()
    (remote,) = [one for one in state["datasets"] if one["name"] == name]
    assert remote["is_active"], service.tail()
    assert [] == [one for one in state["uploads"] if one["dataset_id"] == remote["id"]]
    (delivery,) = service.deliveries()
    assert remote["id"] == delivery.remote_id, service.tail()
    facts = {entry["key"]: entry["value"] for entry in remote["metadata"]}
    assert delivery.run_id in facts.values()
    arrived, published = tree_of(Path(remote["files"])), tree_of(service.target / name)
    shards = [path for path in published if "/c/" in path]
    assert shards
    assert {path: published[path] for path in shards} == {path: arrived[path] for path in shards}
