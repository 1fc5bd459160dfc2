"""Measure an upload beside plain `httpx`, which posts the same chunks to the same server.

`python -m benchmarks.delivery` makes a dataset of noise, starts the stand-in for WEBKNOSSOS as a
process of its own, and lets each side send everything, in turn: from the reservation to the answer
of `finish`, each in a process of its own, so that memory is its own too. Ours is measured with a
quarter of the dataset as well: memory may not grow with it.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EDGE = 4096
FILE_BYTES = EDGE * EDGE * 4
SPEED_BAR = 0.9
"""Of what httpx itself reaches."""
GROWTH_BAR = 1.1
"""Peak memory of the whole dataset over that of a quarter."""

SHARED = """
import json, os, resource, sys, threading, time, uuid
from pathlib import Path
dataset, url, token, chunk_mib, parallel = sys.argv[1:6]
dataset, chunk_bytes, parallel = Path(dataset), int(chunk_mib) << 20, int(parallel)

def tell(seconds):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))
"""
OURS = (
    SHARED
    + """
from stackwatch.model.delivery import DeliveryRequest, ServerOptions
from stackwatch.webknossos.connection import connect
from stackwatch.webknossos.local import survey_dataset
from stackwatch.webknossos.parcel import Parcel
from stackwatch.webknossos.patience import Waiting
from stackwatch.webknossos.token import Token
from stackwatch.webknossos.upload import upload_parcel

class Journal:
    cancelled = threading.Event()
    def progress(self, progress): pass
    def record(self, record): pass

server = ServerOptions(url, chunk_mib=int(chunk_mib), parallel=parallel)
request = DeliveryRequest("upload", dataset, "", server)
with connect(server, Token(token), Waiting()) as connection:
    parcel = Parcel(request, survey_dataset(dataset), "bench")
    began = time.perf_counter()
    upload_parcel(connection, parcel, Journal())
    tell(time.perf_counter() - began)
"""
)
PLAIN = (
    SHARED
    + """
import httpx
from concurrent.futures import ThreadPoolExecutor
files = sorted(path for path in dataset.rglob("*") if path.is_file())
client = httpx.Client(headers={"X-Auth-Token": token}, timeout=600, trust_env=False)
organization = client.get(url + "/api/v16/user").json()["organization"]
base = client.get(url + "/api/v16/datastores").json()[0]["url"]
base += "/data/v16/datasets/upload/dataset"
upload = str(uuid.uuid4())

def post(job):
    path, number = job
    total = -(-path.stat().st_size // chunk_bytes)
    with path.open("rb") as file:
        file.seek((number - 1) * chunk_bytes)
        piece = file.read(chunk_bytes)
    fields = {
        "resumableChunkNumber": number, "resumableChunkSize": chunk_bytes,
        "resumableCurrentChunkSize": len(piece), "resumableTotalChunks": total,
        "resumableIdentifier": upload + "/" + path.relative_to(dataset).as_posix(),
    }
    client.post(base, data=fields, files={"file": ("blob", piece)}).raise_for_status()

began = time.perf_counter()
info = {"uploadId": upload, "totalFileCount": len(files), "filePaths": []}
body = {"resumableUploadInfo": info, "datasetName": "bench", "organizationId": organization,
        "initialTeamIds": []}
client.post(base + "/reserveUpload", json=body).raise_for_status()
jobs = [(path, number + 1) for path in files
        for number in range(-(-path.stat().st_size // chunk_bytes))]
with ThreadPoolExecutor(parallel) as pool:
    list(pool.map(post, jobs))
client.post(base + "/finishUpload", params={"uploadId": upload}).raise_for_status()
tell(time.perf_counter() - began)
"""
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What sending a dataset cost: medians over the runs."""

    seconds: float
    peak_mib: float


def make_dataset(folder: Path, files: int) -> int:
    """Make a dataset of noise, `files` shards of 64 MiB, and return its bytes."""
    import zarr

    shutil.rmtree(folder, ignore_errors=True)
    mag = folder / "color/1"
    zarr.create_array(
        mag,
        shape=(1, EDGE, EDGE, 4 * files),
        chunks=(1, EDGE, EDGE, 4),
        dtype="uint8",
        compressors=None,
    )
    noise = os.urandom(FILE_BYTES)
    for number in range(files):
        place = mag / f"c/0/0/0/{number}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(noise)
    box = {"topLeft": [0, 0, 0], "width": EDGE, "height": EDGE, "depth": 4 * files}
    layer = {
        "name": "color",
        "category": "color",
        "elementClass": "uint8",
        "dataFormat": "zarr3",
        "boundingBox": box,
        "mags": [{"mag": [1, 1, 1], "path": "./color/1"}],
    }
    properties = {"id": {"name": "bench", "team": ""}, "scale": [1, 1, 1], "dataLayers": [layer]}
    (folder / "datasource-properties.json").write_text(json.dumps(properties))
    return files * FILE_BYTES


@contextmanager
def server_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Run the stand-in; yield its URL and a token."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "stackwatch.testing.webknossos_server", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
        yield told["url"], told["tokens"]["admin"]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def send(code: str, dataset: Path, work: Path, chunk_mib: int, parallel: int) -> Sent:
    """Send a dataset to a server that has nothing yet."""
    with server_in(work / "wk") as (url, token):
        options = [str(dataset), url, token, str(chunk_mib), str(parallel)]
        command = [sys.executable, "-c", code, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Sent(**json.loads(done.stdout.splitlines()[-1]))


def median(sent: list[Sent]) -> Sent:
    """Return the median of each figure."""
    return Sent(
        statistics.median(one.seconds for one in sent),
        statistics.median(one.peak_mib for one in sent),
    )


def measure(work: Path, files: int, runs: int, chunk_mib: int, parallel: int) -> dict[str, Any]:
    """Return all figures as JSON values."""
    sizes = make_dataset(work / "whole", files), make_dataset(work / "quarter", files // 4)
    ours, plain, quarter = [], [], []
    for _ in range(runs):
        plain.append(send(PLAIN, work / "whole", work, chunk_mib, parallel))
        ours.append(send(OURS, work / "whole", work, chunk_mib, parallel))
        quarter.append(send(OURS, work / "quarter", work, chunk_mib, parallel))
    mine, yardstick, small = median(ours), median(plain), median(quarter)
    mib = sizes[0] / (1 << 20)
    return {
        "mib": mib,
        "chunk_mib": chunk_mib,
        "parallel": parallel,
        "ours_mib_per_s": mib / mine.seconds,
        "httpx_mib_per_s": mib / yardstick.seconds,
        "share_of_httpx": yardstick.seconds / mine.seconds,
        "ours_peak_mib": mine.peak_mib,
        "quarter_peak_mib": small.peak_mib,
        "httpx_peak_mib": yardstick.peak_mib,
        "growth": mine.peak_mib / small.peak_mib,
    }


def main() -> int:
    """Measure, print, and tell by the exit code whether the bars hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=16, help="shards of 64 MiB, at least 4")
    parser.add_argument("--runs", type=int, default=3, help="runs of each; the median counts")
    parser.add_argument("--chunk-mib", type=int, default=16)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--work", type=Path, default=ROOT / "build/bench/delivery")
    given = parser.parse_args()
    try:
        found = measure(given.work, given.files, given.runs, given.chunk_mib, given.parallel)
    finally:
        shutil.rmtree(given.work, ignore_errors=True)
    for name, value in found.items():
        print(f"{name:18} {value:10.2f}" if isinstance(value, float) else f"{name:18} {value:10}")
    return int(found["share_of_httpx"] < SPEED_BAR or found["growth"] > GROWTH_BAR)


if __name__ == "__main__":
    sys.exit(main())
