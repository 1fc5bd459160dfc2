"""A real daemon delivers what it published to a server that is a process of its own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from stackwatch.cli.app import app
from stackwatch.model.delivery import DeliveryState
from stackwatch.testing.deliveries import DeliveringBench, RemoteServer, tree_of

TOKEN_VARIABLE = "STACKWATCH_WEBKNOSSOS_TOKEN"


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


def shown(service: DeliveringBench, *arguments: str) -> str:
    """Return what a command says."""
    result = CliRunner().invoke(app, [*arguments, "--config", str(service.config)])
    assert result.exit_code == 0, result.output
    return result.stdout


def document(service: DeliveringBench, *arguments: str) -> dict[str, Any]:
    """Return what a command says with `--json`."""
    found: dict[str, Any] = json.loads(shown(service, *arguments, "--json"))
    return found


def await_delivered(service: DeliveringBench, count: int) -> None:
    """Wait until so many deliveries were told of."""
    service.wait_until(lambda: len(service.events("job.delivered")) >= count)


def test_what_is_published_is_delivered_once_with_its_origin(service, server):
    """Dropped, converted, uploaded; a new content as a new dataset; nothing after a rebuild."""
    service.start()
    service.drop_stack(sidecar='[metadata]\noperator = "A. Meier"\n')
    service.drop_stack("kept", sidecar="upload = false\n")
    await_delivered(service, 1)
    (line,) = service.events("job.delivered")
    (remote,) = server.datasets()
    (delivery,) = service.deliveries()
    assert f"{server.url}/datasets/{remote['id']}" == line["link"] == delivery.link
    assert (DeliveryState.DELIVERED, remote["id"]) == (delivery.state, delivery.remote_id)
    assert line["bytes_sent"] > 0
    facts = {entry["key"]: entry["value"] for entry in remote["metadata"]}
    assert str(service.drop / "run_041") == facts["stackwatch_source"]
    assert ("em", "run_041", "1", "A. Meier") == (
        facts["stackwatch_folder"],
        facts["stackwatch_acquisition"],
        facts["stackwatch_generation"],
        facts["operator"],
    )
    assert {delivery.content_digest, delivery.run_id} <= set(facts.values())
    delivered, published = tree_of(Path(remote["files"])), tree_of(service.target / "run_041")
    shards = [name for name in published if "/c/" in name]
    assert shards
    assert {name: published[name] for name in shards} == {name: delivered[name] for name in shards}

    tifffile.imwrite(service.drop / "run_041" / "slice_3.tif", np.full((9, 7), 9, np.uint8))
    await_delivered(service, 2)
    old, new = server.datasets()
    assert ("run_041", ["superseded"]) == (old["name"], old["tags"])
    assert ("run_041-r2", []) == (new["name"], new["tags"])
    assert line["link"] in shown(service, "jobs", "show", str(line["job_id"]))
    assert [new["id"], old["id"]] == [
        one["remote_id"] for one in document(service, "deliveries", "list")["deliveries"]
    ]
    told = document(service, "deliveries", "show", "1")
    assert ["delivery.queued", "delivery.started", "job.delivered"] == [
        event["event"] for event in told["events"]
    ]
    assert 2 == document(service, "status")["deliveries"]["counts"]["delivered"]
    service.wait_until(lambda: len(service.events("job.succeeded")) == 3)
    assert 0 == service.stop()

    shown(service, "ledger", "rebuild")
    service.start()
    await_delivered(service, 3)

    assert (new["id"], 0) == (service.deliveries()[0].remote_id, line_of(service)["bytes_sent"])
    assert [old["id"], new["id"]] == [dataset["id"] for dataset in server.state()["datasets"]]
    assert {"run_041-r2"} == {one.name for one in service.deliveries()}, "and “kept” stays here"
    assert 0 == service.stop()


def line_of(service: DeliveringBench) -> dict[str, Any]:
    """Return the last line of a delivery."""
    return service.events("job.delivered")[-1]


def test_a_token_is_seen_by_the_delivery_alone(tmp_path, server):
    """C24: not in logs, ledger, settings, page, command lines, or others' environment."""
    server.tell("faults", [{"route": "user", "status": 401, "text": f"bad: {server.token}"}])
    (tmp_path / "s").mkdir()
    word = tmp_path / "word"
    word.touch(mode=0o600)
    word.write_text("a word for the page")
    web = f'listen = "127.0.0.1:0"\nactions = true\ntoken_file = "{word}"'
    service = DeliveringBench(
        tmp_path / "s", server.url, server.token, has_token_file=False, web=web
    )
    service.token_file.unlink()
    try:
        service.start(environment={TOKEN_VARIABLE: server.token})
        service.drop_stack()
        service.wait_until(lambda: bool(service.events("delivery.paused")))
        told = [retry_on_the_page(service, word.read_text())]
        await_delivered(service, 1)
        children = [int(pid) for pid in children_of(service.pid)]
        assert children, "the scan process lives as long as the service"
        for pid in children:
            assert server.token not in read_proc(pid, "environ")
        for pid in [service.pid, *children]:
            assert server.token not in read_proc(pid, "cmdline")
        told += [
            shown(service, *command)
            for command in (
                ("status", "--json"),
                ("deliveries", "show", "1", "--json"),
                ("jobs", "show", "1", "--json"),
                ("config", "show"),
            )
        ]
        assert 0 == service.stop()
    finally:
        service.close()

    assert not [text for text in told if server.token in text]
    holders = [path for path in service.root.rglob("*") if path.is_file()]
    assert service.state_dir / "ledger.db" in holders
    assert [] == [path for path in holders if server.token.encode() in path.read_bytes()]


def retry_on_the_page(service: DeliveringBench, word: str) -> str:
    """Sign in, have the delivery of the first job tried again, and return the job's page."""
    address = service.events("page.started")[-1]["listen"]
    with httpx.Client(base_url=f"http://{address}") as client:
        client.post("/sign-in", data={"word": word})
        page = client.get("/jobs/1").text
        found = re.search(r'name="form_word" value="([^"]+)"', page)
        assert found is not None, page
        form = {"number": "1", "form_word": found[1], "next": "/jobs/1"}
        assert 303 == client.post("/actions/redeliver", data=form).status_code
        return page + client.get("/jobs/1").text


def children_of(pid: int) -> list[str]:
    """Return the living children of a process."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()


def read_proc(pid: int, name: str) -> str:
    """Return what the kernel tells of a process."""
    return Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace")


def test_run_once_delivers_without_sending_before_it_ends(tmp_path, server):
    """Read where it lies, and linked into the server's storage: one folder, nothing is left."""
    root = tmp_path / "s"
    for name in ("s", "s/shared", "s/shared-target"):
        (tmp_path / name).mkdir()
    target = root / "target"
    server.tell("behaviour", {"local_whitelist": [str(target)]})
    server.tell("faults", [{"route": "create_folder", "delay_s": 0.2, "times": -1}])
    service = DeliveringBench(
        root,
        server.url,
        server.token,
        server=f'path_map = {{ "{target}" = "file://{target}" }}',
        daemon="delivery_workers = 2",
        folder=f"""
delivery = "register"
remote_folder = "Datasets/em/2026"
[[folder]]
name = "shared"
path = "{root}/shared"
target = "{root}/shared-target"
quiet_gap_s = 0.2
voxel_size_nm = [1, 1, 1]
delivery = "paths"
transfer = "symlink"
remote_folder = "Datasets/em/2026"
""",
    )
    service.drop_stack("near")
    service.drop_stack("linked")
    (service.drop / "linked").rename(root / "shared" / "linked")
    command = [sys.executable, "-m", "stackwatch", "run", "--once", "--json", "--config"]
    done = subprocess.run(
        [*command, str(service.config)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "STACKWATCH_WEB__LISTEN": ""},
        check=False,
    )
    assert (0, []) == (done.returncode, json.loads(done.stdout)["left"])
    found = {dataset["name"]: dataset for dataset in server.datasets()}
    counts = server.state()["counts"]

    assert {"near": "register", "linked": "paths"} == {
        one.name: one.kind
        for one in service.deliveries()
        if one.state is DeliveryState.DELIVERED and one.remote_id == found[one.name]["id"]
    }
    assert 1 == counts["create_folder"] == len({one["folder_id"] for one in found.values()})
    assert {"reserve", "chunk"}.isdisjoint(counts)
    assert all(path.is_relative_to(target / "near") for path in mags_of(found["near"]))
    assert [root / "shared-target" / "linked" / "color" / "1"] == [
        path.readlink() for path in mags_of(found["linked"]) if path.name == "1"
    ]


def mags_of(dataset: dict[str, Any]) -> list[Path]:
    """Return where the server reads a dataset's mags."""
    layers = dataset["source"]["dataLayers"]
    return [Path(mag["path"].removeprefix("file://")) for layer in layers for mag in layer["mags"]]
