"""The peer's own upload against the stand-in for WEBKNOSSOS: what it sends arrives byte for byte.

The peer was written against the real server; so a stand-in that it uploads to without a word is
one that our own upload may be tested against.
"""

import json
import os
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stackwatch import convert
from stackwatch.model.delivery import (
    DeliveryProgress,
    DeliveryRequest,
    ServerOptions,
    UploadRecord,
)
from stackwatch.model.options import StoreFormat
from stackwatch.pipeline.deliver import deliver
from stackwatch.testing.webknossos_faults import Behaviour, Fault
from stackwatch.testing.webknossos_server import WebknossosServer
from stackwatch.webknossos.token import Token

ROOT = Path(__file__).resolve().parents[2]
PEER_REGISTER = Path(__file__).with_name("peer_register.py")

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]


class Journal:
    """Takes what is told, and keeps nothing."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def progress(self, progress: DeliveryProgress) -> None:
        """Take the progress."""

    def record(self, record: UploadRecord) -> None:
        """Take the record."""


@pytest.fixture(scope="session")
def peer() -> Path:
    """Return the peer's own command, or skip by name."""
    python = Path(os.environ.get("INTEROP_PYTHON", ROOT / ".venv-interop/bin/python"))
    if not python.exists():
        pytest.skip(f"no peer at {python}: `make interop` sets it up")
    return python.with_name("webknossos")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of slices of noise, so that no two chunks are equal."""
    folder = tmp_path_factory.mktemp("stack")
    numbers = np.random.default_rng(7)
    for z in range(41):
        plane = numbers.integers(0, 255, (150, 173), dtype=np.uint8)
        tifffile.imwrite(folder / f"slice_{z:03d}.tif", plane)
    return folder


def peer_upload(peer: Path, dataset: Path, server: WebknossosServer, *options: str) -> None:
    """Run the peer's upload; its words are shown if it fails."""
    done = subprocess.run(
        [
            *(peer, "upload", dataset, "--webknossos-url", server.url, "--token", server.token),
            *("--dataset-name", "exp_42", "--folder", "Datasets/em", *options),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below the mags: what lies beside them is dropped."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.glob("*/*/**/*"))
        if path.is_file()
    }


def check(server: WebknossosServer, dataset: Path, places: Path | None = None) -> None:
    """Check that the server has the dataset once, usable, where it belongs, with the same bytes."""
    (found,) = server.datasets()
    assert (True, "", "exp_42") == (found.is_active, found.status, found.name)
    assert "em" == server.world.folders[found.folder_id].name
    assert [] == server.mishaps
    assert {} == server.world.uploads
    arrived = places / found.organization / found.directory if places else server.files(found)
    assert contents(dataset) == contents(arrived)


@pytest.mark.parametrize("store_format", ["zarr3", "wkw"])
@pytest.mark.parametrize("newest", [16, 15, 14, 13])
def test_peer_upload_arrives(
    peer: Path, stack: Path, tmp_path: Path, newest: int, store_format: StoreFormat
) -> None:
    """In every version that the peer speaks, all bytes of both formats arrive."""
    dataset = tmp_path / "ours"
    convert(stack, dataset, voxel_size_nm=(10, 10, 25), format=store_format)
    with WebknossosServer(tmp_path / "wk", Behaviour(newest_version=newest)) as server:
        peer_upload(peer, dataset, server)

        check(server, dataset)
        assert 1 == len(server.requests("finish"))


def test_peer_upload_in_many_chunks(peer: Path, tmp_path: Path) -> None:
    """A file larger than the peer's chunks is put together from them, after a fault in between."""
    numbers = np.random.default_rng(8)
    stack, dataset = tmp_path / "stack", tmp_path / "ours"
    stack.mkdir()
    for z in range(32):
        plane = numbers.integers(0, 255, (2048, 2048), dtype=np.uint8)
        tifffile.imwrite(stack / f"slice_{z:03d}.tif", plane)
    convert(stack, dataset, voxel_size_nm=(10, 10, 25), downsample=False)
    with WebknossosServer(tmp_path / "wk") as server:
        server.faults.add(Fault("chunk", status=503, contains="#2", is_done=True))
        peer_upload(peer, dataset, server)

        check(server, dataset)
        assert 503 in {asked.status for asked in server.requests("chunk")}


@pytest.mark.parametrize("transfer", ["copy", "symlink"])
def test_peer_puts_into_place(peer: Path, stack: Path, tmp_path: Path, transfer: str) -> None:
    """The peer's upload by path puts every mag where the server said, and it can be used."""
    dataset = tmp_path / "ours"
    convert(stack, dataset, voxel_size_nm=(10, 10, 25))
    with WebknossosServer(tmp_path / "wk") as server:
        peer_upload(peer, dataset, server, "--transfer-mode", transfer)

        check(server, dataset, places=tmp_path / "wk" / "paths")


def test_ours_arrives_as_the_peers(peer: Path, stack: Path, tmp_path: Path) -> None:
    """Ours and the peer's upload of one dataset to one server leave the same files and layers."""
    dataset = tmp_path / "ours"
    convert(stack, dataset, voxel_size_nm=(10, 10, 25))
    with WebknossosServer(tmp_path / "wk") as server:
        peer_upload(peer, dataset, server)
        options = ServerOptions(url=server.url)
        request = DeliveryRequest("upload", dataset, "", options, remote_folder="Datasets/em")
        delivered = deliver(request, Journal(), token=Token(server.token))
        theirs, ours = server.datasets()

    assert delivered.remote_id == ours.id
    assert contents(dataset) == contents(server.files(theirs)) == contents(server.files(ours))
    assert theirs.folder_id == ours.folder_id
    shown = []
    for found in (theirs, ours):
        assert found.source is not None
        text = json.dumps(found.source, sort_keys=True)
        shown.append(json.loads(text.replace(found.directory, "dataset")))
    assert shown[0]["dataLayers"] == shown[1]["dataLayers"]


def test_peer_registers(peer: Path, stack: Path, tmp_path: Path) -> None:
    """The peer has a dataset explored where it lies, in the folder that it names."""
    dataset = tmp_path / "share" / "ours"
    convert(stack, dataset, voxel_size_nm=(10, 10, 25))
    behaviour = Behaviour(local_whitelist=(str(tmp_path / "share"),))
    with WebknossosServer(tmp_path / "wk", behaviour) as server:
        options = (server.url, server.token, f"file://{dataset}", "exp_42", "Datasets/em")
        done = subprocess.run(
            [peer.with_name("python"), PEER_REGISTER, *options], capture_output=True, text=True
        )
        (found,) = server.datasets()

    assert [] == server.mishaps
    assert (True, "exp_42") == (found.is_active, found.name), done.stderr
    assert "em" == server.world.folders[found.folder_id].name
