"""Datasets in a bucket: written without a copy here, seen whole or not at all."""

import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from typer.testing import CliRunner

import stackwatch
from stackwatch.cli.app import app
from stackwatch.daemon.staging import remove_staging
from stackwatch.errors import (
    CancelledError,
    ClusterError,
    DeliveryRefusedError,
    ExitCode,
    OutOfSpaceError,
    TargetExistsError,
    TargetNotWritableError,
    UsageError,
    VerificationError,
)
from stackwatch.model.delivery import DeliveryRequest, PathRule, ServerOptions
from stackwatch.model.flags import ConvertFlags
from stackwatch.pipeline.convert import convert_acquisition
from stackwatch.pipeline.deliver import deliver
from stackwatch.pipeline.preview import write_preview
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.pipeline.verify import verify_dataset
from stackwatch.settings import FolderSettings, Settings
from stackwatch.settings.survey_outside import outside_warnings
from stackwatch.stores.objects import PART_BYTES, Objects, open_objects
from stackwatch.stores.room import RoomWatch
from stackwatch.stores.sinks import ObjectSink
from stackwatch.testing.mags import read_with_zarr
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer
from stackwatch.testing.webknossos_faults import Behaviour
from stackwatch.testing.webknossos_server import WebknossosServer
from stackwatch.webknossos.token import Token

pytest.importorskip("obstore")
EDGES = (11.24, 11.24, 25.0)
BUCKET = "lab-data"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Run an object store on loopback."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: Any) -> Objects:
    """Return an empty place in a bucket, and let the environment lead there."""
    boto3 = pytest.importorskip("boto3")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    open_objects.cache_clear()
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    prefix = f"{request.node.name}"
    return Objects(f"s3://{BUCKET}/{prefix}")


def acquire(tmp_path: Path, depth: int = 70) -> Path:
    """Write a stack."""
    layers = (
        SyntheticLayer("color", (depth, 90, 71), content="em"),
        SyntheticLayer("labels", (depth, 90, 71), dtype="uint32", content="labels"),
    )
    SyntheticAcquisition(layers).write(tmp_path / "source")
    return tmp_path / "source"


def read_bucket(objects: Objects, path: str) -> Any:
    """Read a mag as anybody would: zarr-python and obstore, nothing of ours."""
    import zarr
    from zarr.storage import ObjectStore

    return zarr.open_array(ObjectStore(objects.store, read_only=True), path=path, mode="r")[...]


def test_a_dataset_in_a_bucket_is_that_of_a_folder(tmp_path: Path, bucket: Objects):
    """Every file is there with the same bytes; zarr-python reads it; nothing stays here."""
    source = acquire(tmp_path)
    stackwatch.convert(source, tmp_path / "run", voxel_size_nm=EDGES)
    result = stackwatch.convert(source, f"{bucket.url}/run", voxel_size_nm=EDGES)
    run = Objects(f"{bucket.url}/run")
    local = {
        path.relative_to(tmp_path / "run").as_posix(): path.read_bytes()
        for path in (tmp_path / "run").rglob("*")
        if path.is_file()
    }

    assert local.keys() == run.sizes().keys()
    told = {"stackwatch.json"}
    assert {k: v for k, v in local.items() if k not in told} == {
        key: run.read(key) for key in local if key not in told
    }
    for mag in ("1", "4-4-2"):
        np.testing.assert_array_equal(
            read_with_zarr(tmp_path / "run" / "color" / mag), read_bucket(run, f"color/{mag}")
        )
    assert f"{bucket.url}/run" == result.as_record()["datasets"][0]["path"]
    assert ["run", "source"] == sorted(path.name for path in tmp_path.iterdir())


class Journal:
    """A journal of conversions and deliveries that agrees."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def progress(self, progress: object) -> None:
        """Take it."""

    def record(self, fact: object) -> None:
        """Take it."""


def test_a_dataset_in_a_bucket_is_registered_where_it_is(tmp_path: Path, bucket: Objects):
    """The server is told its address, and its voxels are compared with those in the bucket."""
    source = acquire(tmp_path, 9)
    stackwatch.convert(source, tmp_path / "mirror" / "run #1", voxel_size_nm=EDGES, max_mag=2)
    stub = tmp_path / "stub" / "run #1"
    options = ConvertFlags(voxel_size_nm=EDGES, max_mag=2).options()
    store = replace(options.store, bucket=bucket.url)
    convert_acquisition(ConvertRequest(source, stub, replace(options, store=store)), Journal())
    places = ((bucket.url, str(tmp_path / "mirror")),)
    with WebknossosServer(tmp_path / "wk", Behaviour(remote_places=places)) as server:
        request = DeliveryRequest(
            kind="register", dataset=stub, run_id="", server=ServerOptions(url=server.url),
            path_rules=(PathRule(str(stub.parent), bucket.url),),
        )  # fmt: skip
        deliver(request, Journal(), token=Token(server.token))
        found = server.datasets()
        layers = (found[0].source or {})["dataLayers"]
        mags = [mag["path"] for layer in layers for mag in layer["mags"]]
        with pytest.raises(DeliveryRefusedError, match="nothing here to send"):
            deliver(replace(request, kind="upload"), Journal(), token=Token(server.token))

    assert 1 == len(found)
    assert mags
    assert [path for path in mags if path.startswith(f"{bucket.url}/run%20%231/")] == mags
    assert "run #1" in {key.split("/")[0] for key in bucket.sizes()}


@pytest.mark.system
def test_tensorstore_reads_a_bucket(tmp_path: Path, bucket: Objects, endpoint: str):
    """A third reader finds the same voxels at the same address."""
    tensorstore = pytest.importorskip("tensorstore")
    source = acquire(tmp_path)
    stackwatch.convert(source, tmp_path / "run", voxel_size_nm=EDGES)
    stackwatch.convert(source, f"{bucket.url}/run", voxel_size_nm=EDGES)
    path = f"{bucket.url}/run/labels/1/".removeprefix(f"s3://{BUCKET}/")
    store = {
        "driver": "s3", "bucket": BUCKET, "path": path, "endpoint": endpoint,
        "aws_region": "us-east-1", "aws_credentials": {"type": "environment"},
    }  # fmt: skip
    opened = tensorstore.open({"driver": "zarr3", "kvstore": store}, read=True).result()

    np.testing.assert_array_equal(
        read_with_zarr(tmp_path / "run" / "labels" / "1"), opened.read().result()
    )


@pytest.mark.system
def test_an_existing_dataset_is_not_touched(tmp_path: Path, bucket: Objects):
    """A second conversion to the same address is refused before it writes."""
    source = acquire(tmp_path, 20)
    stackwatch.convert(source, f"{bucket.url}/run", voxel_size_nm=EDGES)
    run = Objects(f"{bucket.url}/run")
    before = {key: run.read(key) for key in run.sizes()}
    with pytest.raises(TargetExistsError, match="is a dataset already"):
        stackwatch.convert(source, f"{bucket.url}/run", voxel_size_nm=EDGES)

    assert before == {key: run.read(key) for key in run.sizes()}


def test_what_somebody_else_keeps_is_not_touched(tmp_path: Path, bucket: Objects):
    """C30: below the address lie objects of others, even datasets: it is refused, all stay."""
    source = acquire(tmp_path, 5)
    keys = ["em/run_1/datasource-properties.json", "em/run_1/color/1/c/0/0/0/0", "raw.tif"]
    for key in keys:
        bucket.put(key, b"theirs")
    for place in (f"{bucket.url}/em", bucket.url):
        with pytest.raises(TargetExistsError, match="no conversion of this address has written"):
            stackwatch.convert(source, place, voxel_size_nm=EDGES)

    assert sorted(keys) == sorted(bucket.sizes())


def test_a_check_of_the_settings_writes_to_the_bucket(tmp_path: Path, bucket: Objects):
    """An object is put and removed again; a bucket that is not there is named."""
    folders = tuple(
        FolderSettings(name=name, path=tmp_path, target=tmp_path / name, bucket=url)
        for name, url in (("here", bucket.url), ("gone", "s3://no-such-bucket/em"))
    )
    (told,) = outside_warnings(Settings(folder=folders))

    assert told.startswith("target “s3://no-such-bucket/em”: ")
    assert "Check the bucket's name" in told
    assert {} == bucket.sizes()


@pytest.mark.system
def test_of_two_that_write_to_one_address_the_later_wins(tmp_path: Path, bucket: Objects):
    """C30: who finds another's claim in the end gives up, and removes nothing of the other's."""
    source = acquire(tmp_path, 20)
    run = Objects(f"{bucket.url}/run")

    class Overtaken(Journal):
        def record(self, fact: Any) -> None:
            if fact.stage == "publishing" and not run.sizes().get("stackwatch.json"):
                stackwatch.convert(source, run.url, voxel_size_nm=EDGES, name="other", max_mag=1)

    options = ConvertFlags(voxel_size_nm=EDGES).options()
    store = replace(options.store, bucket=bucket.url)
    request = ConvertRequest(source, tmp_path / "stub" / "run", replace(options, store=store))
    with pytest.raises(TargetExistsError, match=r"dataset already|Another conversion"):
        convert_acquisition(request, Overtaken())

    assert "other" == json.loads(run.read("datasource-properties.json") or b"")["id"]["name"]
    assert "verified" == verify_dataset(run.url)["status"]


def test_only_an_announced_run_is_taken_away(tmp_path: Path, bucket: Objects):
    """A dataset that an attempt left visible is written again; that of any other run stays."""
    source = acquire(tmp_path, 5)
    url = f"{bucket.url}/run"
    stackwatch.convert(source, url, voxel_size_nm=EDGES, name="first")
    run_id = verify_dataset(url)["run_id"]
    options = ConvertFlags(voxel_size_nm=EDGES, max_mag=1, name="second").options()
    store = replace(options.store, bucket=bucket.url)
    request = ConvertRequest(
        source, tmp_path / "run", replace(options, store=store), announced_runs=("another",)
    )
    with pytest.raises(TargetExistsError, match="is a dataset already"):
        convert_acquisition(request, Journal())
    kept = verify_dataset(url)["run_id"]
    convert_acquisition(replace(request, announced_runs=(run_id,)), Journal())
    keys = Objects(url).sizes()

    assert run_id == kept
    assert run_id != verify_dataset(url)["run_id"]
    assert not [key for key in keys if "/2" in key or key == "stackwatch.writing"]


@pytest.mark.system
def test_a_dataset_is_verified_at_its_address(tmp_path: Path, bucket: Objects):
    """Voxels and metadata in the bucket are compared; what was never whole is told."""
    source = acquire(tmp_path, 20)
    stackwatch.convert(source, f"{bucket.url}/run", voxel_size_nm=EDGES)
    found = verify_dataset(f"{bucket.url}/run")
    bucket.put("run/color/1/zarr.json", b"{}")
    told = re.escape(f"“{bucket.url}/run” is not what was written: color/1/zarr.json: missing")
    with pytest.raises(VerificationError, match=told):
        verify_dataset(f"{bucket.url}/run")
    with pytest.raises(UsageError, match=r"is no datasource-properties\.json"):
        verify_dataset(f"{bucket.url}/nothing")
    bucket.put("theirs/datasource-properties.json", b"{}")
    with pytest.raises(VerificationError, match=re.escape(f"“{bucket.url}/theirs” has no")):
        verify_dataset(f"{bucket.url}/theirs")

    assert ("verified", f"{bucket.url}/run") == (found["status"], found["path"])


def test_a_dataset_is_shown_from_its_address(tmp_path: Path, bucket: Objects):
    """The picture is that of the folder; an acquisition in a bucket is refused in clear words."""
    source = acquire(tmp_path, 5)
    for place in (tmp_path / "run", f"{bucket.url}/run"):
        stackwatch.convert(source, place, voxel_size_nm=EDGES, name="run", max_mag=1)
    write_preview(tmp_path / "run", tmp_path / "here.png")
    shown = CliRunner().invoke(app, ["preview", f"{bucket.url}/run", str(tmp_path / "there.png")])
    refused = CliRunner().invoke(app, ["inspect", f"{bucket.url}/run"])

    assert 0 == shown.exit_code, shown.stderr
    assert (tmp_path / "here.png").read_bytes() == (tmp_path / "there.png").read_bytes()
    assert ExitCode.USAGE == refused.exit_code
    assert "not from buckets" in refused.stderr


@pytest.mark.system
def test_a_failed_conversion_leaves_nothing(tmp_path: Path, bucket: Objects):
    """What was put before the damage was found is removed."""
    source = acquire(tmp_path)
    damaged = sorted((source / "labels").iterdir())[60]
    damaged.write_bytes(damaged.read_bytes()[:-5000])
    with pytest.raises(stackwatch.errors.StackwatchError):
        stackwatch.convert(source, f"{bucket.url}/run", voxel_size_nm=EDGES)

    assert {} == Objects(f"{bucket.url}/run").sizes()


def test_a_shard_that_is_given_up_leaves_no_parts(bucket: Objects):
    """What was sent of it is forgotten by the bucket, and never becomes an object."""
    client = pytest.importorskip("boto3").client("s3")
    found = []
    for parts in (0, 2):
        sink = ObjectSink(bucket, f"{parts}")
        sink.write([b"1" * PART_BYTES * parts, b"2"])
        sink.abort()
        found.append(client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))

    assert [[], []] == found
    assert {} == bucket.sizes()


@pytest.mark.system
def test_a_killed_conversion_is_invisible_and_cleared_up(tmp_path: Path, bucket: Objects):
    """C31: after kill -9 there is no dataset; the next attempt removes shards, writes its own."""
    source = acquire(tmp_path)
    run = Objects(f"{bucket.url}/run")
    command = [
        sys.executable, "-m", "stackwatch", "convert", str(source), f"{bucket.url}/run",
        "--voxel-size-nm", "11.24,11.24,25", "--name", "first",
    ]  # fmt: skip
    environment = {**os.environ, "STACKWATCH_FAILPOINT": "verify.done"}
    killed = subprocess.run(command, env=environment, capture_output=True, check=False)
    left = run.sizes()
    stackwatch.convert(source, f"{bucket.url}/run", voxel_size_nm=EDGES, max_mag=1, name="second")
    after = run.sizes()
    name = json.loads(run.read("datasource-properties.json") or b"")["id"]["name"]

    assert -signal.SIGKILL == killed.returncode
    assert left
    assert "stackwatch.writing" in left
    assert not [key for key in left if key.endswith(".json")]
    assert "second" == name
    assert not [key for key in after if key.startswith("color/2")]


@pytest.mark.system
def test_processes_write_to_a_bucket_too(tmp_path: Path, bucket: Objects):
    """Ranges of several processes end in the same objects."""
    source = acquire(tmp_path)
    stackwatch.convert(source, f"{bucket.url}/local", voxel_size_nm=EDGES, name="run")
    stackwatch.convert(
        source, f"{bucket.url}/ranged", voxel_size_nm=EDGES, name="run",
        executor="processes", processes=2, threads=2, memory_gib=1,
    )  # fmt: skip
    local, ranged = Objects(f"{bucket.url}/local"), Objects(f"{bucket.url}/ranged")
    keys = local.sizes().keys() - {"stackwatch.json"}

    assert local.sizes().keys() == ranged.sizes().keys()
    assert {key: local.read(key) for key in keys} == {key: ranged.read(key) for key in keys}


@pytest.mark.system
@pytest.mark.parametrize("is_somebody_there", [False, True])
def test_what_lies_in_a_bucket_is_taken_over(
    tmp_path: Path, bucket: Objects, is_somebody_there: bool
):
    """C30: shards with receipts stay in the bucket, others go; not if another run wrote there."""
    source = acquire(tmp_path, 160)
    run = Objects(f"{bucket.url}/run")
    options = ConvertFlags(
        voxel_size_nm=EDGES, name="run", threads=2, memory_gib=1, max_mag=2, executor="processes",
        processes=2,
    ).options()  # fmt: skip
    options = replace(options, store=replace(options.store, bucket=bucket.url))
    request = ConvertRequest(source, tmp_path / "stub" / "run", options)

    class CutOff(Journal):
        is_over = False
        taken = 0

        def progress(self, progress: Any) -> None:
            """Be cut off after two ranges of the second layer, once."""
            self.taken += progress.ranges_taken > 0 and progress.layer == "color"
            if progress.ranges_done >= 2 and progress.layer == "labels" and not self.is_over:
                raise ClusterError("gone")

    with pytest.raises(ClusterError):
        convert_acquisition(request, CutOff())
    left = run.sizes()
    run.put("color/1/c/junk", b"junk")
    if is_somebody_there:
        run.put("stackwatch.writing", b"another run")
    again = CutOff()
    again.is_over = True
    convert_acquisition(request, again)
    stackwatch.convert(source, f"{bucket.url}/calm", voxel_size_nm=EDGES, name="run", max_mag=2)
    calm = Objects(f"{bucket.url}/calm")
    keys = calm.sizes().keys() - {"stackwatch.json"}

    assert [key for key in left if key.startswith("labels/1/c/")]
    assert is_somebody_there == (again.taken == 0)
    assert calm.sizes().keys() == run.sizes().keys()
    assert {key: calm.read(key) for key in keys} == {key: run.read(key) for key in keys}


class CutOff(Journal):
    """Loses its cluster after two ranges, once."""

    is_over = False
    taken = 0

    def progress(self, progress: Any) -> None:
        """Be cut off, or remember what was taken over."""
        self.taken = max(self.taken, progress.ranges_taken)
        if progress.ranges_done >= 2 and not self.is_over:
            raise ClusterError("gone")


def cut_off_in_a_bucket(tmp_path: Path, bucket: Objects) -> ConvertRequest:
    """Cut a conversion into a bucket off; return what was asked for."""
    layer = SyntheticLayer("color", (160, 90, 71), content="em")
    SyntheticAcquisition((layer,)).write(tmp_path / "source")
    options = ConvertFlags(
        voxel_size_nm=EDGES, name="run", threads=2, memory_gib=1, max_mag=2, executor="processes",
        processes=2,
    ).options()  # fmt: skip
    options = replace(options, store=replace(options.store, bucket=bucket.url))
    request = ConvertRequest(tmp_path / "source", tmp_path / "stub" / "run", options)
    with pytest.raises(ClusterError):
        convert_acquisition(request, CutOff())
    return request


@pytest.mark.system
def test_an_attempt_that_never_begins_loses_nothing_of_a_bucket(
    tmp_path: Path, bucket: Objects, monkeypatch: pytest.MonkeyPatch
):
    """One that finds too little room for its metadata leaves shards and receipts to the next."""
    request = cut_off_in_a_bucket(tmp_path, bucket)
    with monkeypatch.context() as patch:
        patch.setattr(RoomWatch, "ensure", refuse_room)
        with pytest.raises(OutOfSpaceError):
            convert_acquisition(request, CutOff())
    again = CutOff()
    again.is_over = True
    convert_acquisition(request, again)

    assert 2 <= again.taken
    assert Objects(f"{bucket.url}/run").read("datasource-properties.json") is not None


@pytest.mark.system
@pytest.mark.parametrize(
    ("who", "is_ours"), [("the next attempt", True), ("the service", True), ("the service", False)]
)
def test_what_is_given_up_goes_from_its_bucket_too(
    tmp_path: Path, bucket: Objects, who: str, is_ours: bool
):
    """C31: who throws finished ranges away removes their shards, but nothing of another run."""
    request = cut_off_in_a_bucket(tmp_path, bucket)
    run = Objects(f"{bucket.url}/run")
    left = run.sizes().keys()
    if not is_ours:
        run.put("stackwatch.writing", b"another run")
    if who == "the service":
        assert remove_staging(next((tmp_path / "stub" / ".stackwatch").iterdir()))
    else:
        cancelled = threading.Event()
        cancelled.set()
        with pytest.raises(CancelledError):
            convert_acquisition(request, Journal(), cancelled)

    assert any("/c/" in key for key in left)
    assert "stackwatch.writing" in left
    assert [] == list((tmp_path / "stub").glob(".stackwatch/*"))
    assert (set() if is_ours else left) == run.sizes().keys()


def refuse_room(_watch: RoomWatch) -> None:
    """Find the disk full."""
    raise OutOfSpaceError("full", hint="wait")


@pytest.mark.system
def test_a_killed_command_goes_on_in_a_bucket(tmp_path: Path, bucket: Objects):
    """Kill -9 of a command that several processes work for: the next takes their ranges over."""
    source = acquire(tmp_path)
    (tmp_path / "tmp").mkdir()
    run = Objects(f"{bucket.url}/run")
    command = [
        sys.executable, "-m", "stackwatch", "convert", str(source), f"{bucket.url}/run", "--name",
        "run", "--voxel-size-nm", "11.24,11.24,25", "--executor", "processes", "--processes", "2",
        "--threads", "2", "--memory-gib", "1",
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    broken = {**environment, "STACKWATCH_FAILPOINT": "verify.done"}
    killed = subprocess.run(command, env=broken, capture_output=True, check=False)
    left = list((tmp_path / "tmp").rglob("ranges/*/*.json"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert (-signal.SIGKILL, 0) == (killed.returncode, done.returncode), done.stderr
    assert left
    assert f"({len(left) // 2} of an earlier attempt)" in done.stderr
    assert run.read("datasource-properties.json") is not None
    assert [] == [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]


@pytest.mark.system
def test_a_slow_store_holds_up_the_writing(
    tmp_path: Path, bucket: Objects, monkeypatch: pytest.MonkeyPatch
):
    """No more shards are in memory at a time than were planned: of a slab, and the one before."""
    held, most = 0, 0
    lock = threading.Lock()
    open_writer = Objects.open_writer

    def count(by: int) -> None:
        nonlocal held, most
        with lock:
            held += by
            most = max(held, most)

    class Slow:
        def __init__(self, writer: Any) -> None:
            self._writer = writer
            self.write = writer.write
            count(1)

        def close(self) -> None:
            time.sleep(0.2)
            self._writer.close()
            count(-1)

    monkeypatch.setattr(Objects, "open_writer", lambda *place: Slow(open_writer(*place)))
    layer = SyntheticLayer(shape_zyx=(320, 40, 33), content="em")
    SyntheticAcquisition((layer,)).write(tmp_path / "source")
    stackwatch.convert(
        tmp_path / "source", f"{bucket.url}/run", voxel_size_nm=EDGES, downsample=False
    )

    assert 2 == most


@pytest.mark.system
def test_mistakes_are_told(tmp_path: Path, bucket: Objects):
    """A bucket that is not there, an address without a name, WKW: what to do stands there."""
    source = acquire(tmp_path, 5)
    with pytest.raises(TargetNotWritableError, match="Check the bucket's name"):
        stackwatch.convert(source, "s3://no-such-bucket/run", voxel_size_nm=EDGES)
    with pytest.raises(UsageError, match="is no place for a dataset"):
        stackwatch.convert(source, "s3://lab-data", voxel_size_nm=EDGES)
    with pytest.raises(UsageError, match="format must be zarr3"):
        stackwatch.convert(source, f"{bucket.url}/run", voxel_size_nm=EDGES, format="wkw")

    assert {} == bucket.sizes()


class BadMood(ThreadingHTTPServer):
    """Stands before an object store: fails, dawdles and hangs up now and then."""

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        self.behind = urlsplit(behind)
        self.moods = itertools.cycle(["", "500", "", "cut", "slow", "", "503"])
        self.shown: Counter[str] = Counter()
        super().__init__(("127.0.0.1", 0), BadMoodHandler)


class BadMoodHandler(BaseHTTPRequestHandler):
    """Passes requests on, in its mood."""

    protocol_version = "HTTP/1.0"  # no connection, and no thread, outlives its request
    server: BadMood

    def answer(self) -> None:
        """Answer one request."""
        mood = next(self.server.moods)
        self.server.shown[mood] += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if mood == "cut":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if mood in {"500", "503"}:
            self.send_response(int(mood))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if mood == "slow":
            time.sleep(0.5)
        behind = http.client.HTTPConnection(
            self.server.behind.hostname or "", self.server.behind.port
        )
        behind.request(self.command, self.path, body, dict(self.headers.items()))
        reply = behind.getresponse()
        content = reply.read()
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        length = reply.getheader("Content-Length") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)
        behind.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815 - names of the library

    def log_message(self, *arguments: object) -> None:
        """Keep quiet."""


class Closing(BadMoodHandler):
    """Lets nobody read voxels any more once the judges of the verification begin."""

    indexes = 0

    def answer(self) -> None:
        """Answer one request: a shard's index is read once before, to compare it."""
        if self.command == "GET" and "/c/" in self.path:
            Closing.indexes += 1
            if Closing.indexes > 1:
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        super().answer()

    do_GET = answer  # noqa: N815 - a name of the library


@pytest.mark.system
def test_a_bucket_that_cannot_be_read_is_no_damage(
    tmp_path: Path, bucket: Objects, endpoint: str, monkeypatch: pytest.MonkeyPatch
):
    """Rights that are taken away in the middle are told as that, not as wrong voxels."""
    layer = SyntheticLayer(shape_zyx=(5, 60, 60), content="em")
    SyntheticAcquisition((layer,)).write(tmp_path / "source")
    with BadMood(endpoint) as front:
        front.moods = itertools.cycle([""])
        front.RequestHandlerClass = Closing
        threading.Thread(target=front.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{front.server_address[1]}")
        open_objects.cache_clear()
        with pytest.raises(TargetNotWritableError, match="list, read, write and delete"):
            stackwatch.convert(
                tmp_path / "source", f"{bucket.url}/run", voxel_size_nm=EDGES, downsample=False
            )
        front.shutdown()

    assert 2 <= Closing.indexes


@pytest.mark.system
def test_errors_of_the_store_are_tried_again(
    tmp_path: Path, bucket: Objects, endpoint: str, monkeypatch: pytest.MonkeyPatch
):
    """500, 503, slow answers and cut connections: the dataset is whole all the same."""
    source = acquire(tmp_path)
    stackwatch.convert(source, tmp_path / "run", voxel_size_nm=EDGES)
    with BadMood(endpoint) as front:
        threading.Thread(target=front.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{front.server_address[1]}")
        open_objects.cache_clear()
        stackwatch.convert(source, f"{bucket.url}/run", voxel_size_nm=EDGES, verify="full")
        front.shutdown()
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    run = Objects(f"{bucket.url}/run")
    shards = [path for path in (tmp_path / "run").rglob("c/**/*") if path.is_file()]

    assert min(front.shown[mood] for mood in ("500", "503", "cut", "slow")) > 0
    assert len(shards) > 4
    for shard in shards:
        key = shard.relative_to(tmp_path / "run").as_posix()
        assert shard.read_bytes() == run.read(key)


def run_once(config: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the service until all that can be done is done."""
    return subprocess.run(
        [sys.executable, "-m", "stackwatch", "run", "--once", "--config", str(config)],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


@pytest.mark.system
@pytest.mark.parametrize(
    "failpoint", ["convert.engine_done", "publish.before_rename", "publish.after_rename"]
)
def test_a_killed_service_publishes_into_a_bucket_once(
    tmp_path: Path, bucket: Objects, failpoint: str
):
    """C31: killed before or after the dataset became visible: it is there once, on record."""
    (tmp_path / "drop").mkdir()
    acquire(tmp_path).rename(tmp_path / "drop" / "run_041")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{tmp_path}/state"\n[[folder]]\nname = "em"\n'
        f'path = "{tmp_path}/drop"\ntarget = "{bucket.url}/em"\nquiet_gap_s = 0.3\n'
        "voxel_size_nm = [11.24, 11.24, 25]\nreserve_gib = 0\n",
        encoding="utf-8",
    )
    killed = run_once(config, STACKWATCH_FAILPOINT=f"{failpoint}:1:both")
    again = run_once(config)
    dataset = Objects(f"{bucket.url}/em/run_041")
    manifest = json.loads(dataset.read("stackwatch.json") or b"")
    answer = subprocess.run(
        [sys.executable, "-m", "stackwatch", "verify", f"{tmp_path}/state/buckets/em/run_041"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    shown = subprocess.run(
        [sys.executable, "-m", "stackwatch", "jobs", "show", "1", "--config", str(config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert -signal.SIGKILL == killed.returncode, killed.stdout + killed.stderr
    assert f"dataset      {bucket.url}/em/run_041 (published)" in shown.stdout
    assert 0 == again.returncode, again.stdout + again.stderr
    assert {"datasource-properties.json", "zarr.json"} < dataset.sizes().keys()
    shards = {shard["path"]: shard["bytes"] for shard in manifest["shards"]}
    assert shards == {k: size for k, size in dataset.sizes().items() if "/c/" in k}
    assert 0 == answer.returncode, answer.stderr
    assert ["run_041"] == sorted({key.split("/")[0] for key in Objects(f"{bucket.url}/em").sizes()})


@pytest.mark.system
def test_the_service_registers_what_it_put_into_a_bucket(tmp_path: Path, bucket: Objects):
    """The server is told the bucket's address, with no `path_map`, and shows what lies there."""
    (tmp_path / "drop").mkdir()
    source = acquire(tmp_path, 9)
    stackwatch.convert(source, tmp_path / "mirror" / "run_041", voxel_size_nm=EDGES)
    source.rename(tmp_path / "drop" / "run_041")
    (tmp_path / "token").touch(mode=0o600)
    places = ((f"{bucket.url}/em", str(tmp_path / "mirror")),)
    with WebknossosServer(tmp_path / "wk", Behaviour(remote_places=places)) as server:
        (tmp_path / "token").write_text(server.token, encoding="ascii")
        config = tmp_path / "config.toml"
        config.write_text(
            f'[daemon]\nstate_dir = "{tmp_path}/state"\n[webknossos]\nurl = "{server.url}"\n'
            f'token_file = "{tmp_path}/token"\n[[folder]]\nname = "em"\npath = "{tmp_path}/drop"\n'
            f'target = "{bucket.url}/em"\nquiet_gap_s = 0.3\nvoxel_size_nm = [11.24, 11.24, 25]\n'
            'reserve_gib = 0\ndelivery = "register"\n',
            encoding="utf-8",
        )
        done = run_once(config)
        found = server.datasets()
        voxels = server.requests("data")

    assert 0 == done.returncode, done.stdout + done.stderr
    (dataset,) = found
    assert dataset.is_active
    mags = [mag["path"] for layer in (dataset.source or {})["dataLayers"] for mag in layer["mags"]]
    assert mags
    assert [path for path in mags if path.startswith(f"{bucket.url}/em/run_041/")] == mags
    assert len(voxels) > 4
