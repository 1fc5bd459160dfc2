"""A service that delivers, and a stand-in for WEBKNOSSOS in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import tifffile

from stackwatch.ledger.delivery_records import DeliveryRecord
from stackwatch.ledger.reader import LedgerReader
from stackwatch.testing.service import ServiceBench

IMPATIENT = Path(__file__).with_name("impatient_delivery.py")
_PATIENCE_S = 20.0


class RemoteServer:
    """A stand-in for WEBKNOSSOS that outlives whoever is killed.

    Attributes
    ----------
    url : str
    token : str
        Of an administrator.
    """

    def __init__(self, root: Path, **behaviour: Any) -> None:
        module = "stackwatch.testing.webknossos_server"
        given = ["--dir", str(root), "--behaviour", json.dumps(behaviour)]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", module, *given], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.url: str = told["url"]
        self.token: str = told["tokens"]["admin"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def state(self) -> dict[str, Any]:
        """Return datasets, uploads, counts of requests, faults to come, and its own mistakes."""
        with httpx.Client(trust_env=False, timeout=_PATIENCE_S) as client:
            state: dict[str, Any] = client.get(f"{self.url}/_test/state").json()
        return state

    def tell(self, name: str, body: Any) -> None:
        """Change it: `faults`, `behaviour`, `revoke`, `restart`."""
        with httpx.Client(trust_env=False, timeout=_PATIENCE_S) as client:
            client.post(f"{self.url}/_test/{name}", json=body).raise_for_status()

    def datasets(self) -> list[dict[str, Any]]:
        """Return the datasets that can be opened, oldest first."""
        return [dataset for dataset in self.state()["datasets"] if dataset["is_active"]]


class DeliveringBench(ServiceBench):
    """A service whose folder is delivered to a server.

    Parameters
    ----------
    root : Path
    url : str
    token : str
        Goes into a file, and nowhere else.
    **options
        As for `ServiceBench`; `server` adds lines to `[webknossos]`, and `has_token_file=False`
        leaves it to the environment to name the token.
    """

    def __init__(self, root: Path, url: str, token: str, **options: Any) -> None:
        self.url = url
        self.token_file = root / "token"
        self._server = options.pop("server", "")
        self._has_token_file = options.pop("has_token_file", True)
        self.write_token(token)
        options.setdefault("delivery", IMPATIENT)
        options.setdefault("folder", 'delivery = "upload"')
        options.setdefault("worker", None)
        super().__init__(root, **options)

    def write_token(self, token: str) -> None:
        """Put a token where the service looks for it."""
        fresh = self.token_file.with_name("token.new")
        fresh.touch(mode=0o600)
        fresh.write_text(f"{token}\n", encoding="ascii")
        fresh.replace(self.token_file)

    def write_config(self, folder: str = "", daemon: str = "") -> None:
        """Write the configuration anew, with its `[webknossos]`."""
        server = f'[webknossos]\nurl = "{self.url}"\n'
        if self._has_token_file:
            server += f'token_file = "{self.token_file}"\n'
        super().write_config(folder, f"{daemon}\n{server}chunk_mib = 1\n{self._server}\n")

    def drop_stack(self, name: str = "run_041", slices: int = 3, sidecar: str = "") -> None:
        """Drop a numbered sequence of TIFFs, perhaps with a sidecar."""
        built = self.root / f"building-{name}"
        built.mkdir()
        for z in range(slices):
            tifffile.imwrite(built / f"slice_{z}.tif", np.full((9, 7), 1 + z, np.uint8))
        if sidecar:
            (built / "stackwatch.toml").write_text(sidecar, encoding="utf-8")
        built.rename(self.drop / name)

    def deliveries(self) -> tuple[DeliveryRecord, ...]:
        """Return the deliveries in the ledger, the newest first."""
        with LedgerReader.open(self.state_dir) as reader:
            return reader.list_deliveries()


def tree_of(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
