"""A real daemon delivers what it published to a server that is a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stackwatch.model.delivery import DeliveryState
from stackwatch.testing.deliveries import DeliveringBench, RemoteServer, tree_of


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RemoteServer]:
    """Return a server of the test's own."""
    with RemoteServer(tmp_path / "wk") as made:
        yield made
        assert [] == made.state()["mishaps"]


@pytest.fixture
def service(tmp_path: Path, server: RemoteServer) -> Iterator[DeliveringBench]:
    """Return a service that delivers to it, killed at the end."""
    (tmp_path / "service").mkdir()
    made = DeliveringBench(tmp_path / "service", server.url, server.token)
    yield made
    made.close()


def test_what_is_published_is_delivered_once(service, server):
    """Dropped, converted, uploaded, with its origin; another start delivers nothing more."""
    service.start()
    service.drop_stack()
    service.wait_until(lambda: bool(service.events("job.delivered")))
    (line,) = service.events("job.delivered")
    (remote,) = server.datasets()
    (delivery,) = service.deliveries()
    assert 0 == service.stop()
    service.start()
    service.wait_until(lambda: service.ask("status")["is_up"])

    assert f"{server.url}/datasets/{remote['id']}" == line["link"] == delivery.link
    assert (DeliveryState.DELIVERED, remote["id"]) == (delivery.state, delivery.remote_id)
    assert line["bytes_sent"] > 0
    facts = {entry["key"]: entry["value"] for entry in remote["metadata"]}
    assert str(service.drop / "run_041") == facts["stackwatch_source"]
    assert ("em", "run_041", "1") == tuple(
        facts[f"stackwatch_{key}"] for key in ("folder", "acquisition", "generation")
    )
    assert {delivery.content_digest} <= set(facts.values())
    assert {delivery.run_id} <= set(facts.values())
    assert 1 == len(service.events("delivery.started"))
    assert 1 == len(server.state()["datasets"])
    delivered, published = tree_of(Path(remote["files"])), tree_of(service.target / "run_041")
    assert {name: published[name] for name in delivered} == delivered
