"""The stand-in for WEBKNOSSOS says what the real one says: checks in order, shapes of errors."""

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import zarr

from stackwatch.testing.webknossos_faults import Behaviour, Fault
from stackwatch.testing.webknossos_fronts import RedirectingFront, make_certificates
from stackwatch.testing.webknossos_server import TOKENS, WebknossosServer

CHUNK_BYTES = 1000
LONG = b"1" * 3 * CHUNK_BYTES
VOXELS = np.arange(20 * 10 * 7, dtype=np.uint8).reshape(1, 20, 10, 7)


@pytest.fixture(name="server")
def running_server(tmp_path: Path) -> Iterator[WebknossosServer]:
    """Yield a server, and see to it that it made no mistake of its own."""
    with WebknossosServer(tmp_path / "wk") as server:
        yield server
        assert [] == server.mishaps


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a small dataset with a file that no mag refers to."""
    folder = tmp_path / "dataset"
    array = zarr.create_array(
        folder / "color/1", shape=VOXELS.shape, dtype="uint8", chunks=(1, 20, 10, 7),
        compressors=None,
    )  # fmt: skip
    array[:] = VOXELS
    (folder / "notes.txt").write_text("of no mag")
    (folder / "datasource-properties.json").write_text(json.dumps(properties()))
    return folder


def properties(**layer: Any) -> dict[str, Any]:
    """Return the properties of the dataset, its layer changed."""
    box = {"topLeft": [0, 0, 0], "width": 20, "height": 10, "depth": 7}
    mag = {"mag": [1, 1, 1], "path": "./color/1", "axisOrder": {"c": 0, "x": 1, "y": 2, "z": 3}}
    known = {
        "name": "color",
        "category": "color",
        "elementClass": "uint8",
        "dataFormat": "zarr3",
        "boundingBox": box,
        "mags": [mag],
    }
    return {
        "id": {"name": "", "team": ""}, "scale": [10, 10, 25], "dataLayers": [known | layer],
    }  # fmt: skip


class Client:
    """The least that uploads: no retries, no cleverness."""

    def __init__(self, server: WebknossosServer, token: str = "", version: int = 16) -> None:
        self.server = server
        self.version = version
        self.http = httpx.Client(headers={"X-Auth-Token": token or server.token}, trust_env=False)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask WEBKNOSSOS."""
        return self.http.request(method, f"{self.server.url}/api/v{self.version}{path}", **more)

    def data(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask the datastore."""
        url = f"{self.server.datastore_url}/data/v{self.version}{path}"
        return self.http.request(method, url, **more)

    @property
    def base(self) -> str:
        """Path of uploads in this version."""
        return "/datasets/upload/dataset" if self.version >= 14 else "/datasets"

    def reserve(self, folder: Path, upload_id: str = "u1", **more: Any) -> httpx.Response:
        """Reserve an upload of all files of a folder."""
        paths = files_of(folder)
        info: dict[str, Any] = {
            "uploadId": upload_id,
            "totalFileCount": len(paths),
            "filePaths": [path.relative_to(folder).as_posix() for path in paths],
            "totalFileSizeInBytes": sum(path.stat().st_size for path in paths),
        }
        if self.version >= 14:
            body = {"resumableUploadInfo": info, "datasetName": "exp", "organizationId": "lab",
                    "initialTeamIds": []}  # fmt: skip
        else:
            body = info | {"name": "exp", "organization": "lab", "initialTeams": []}
        return self.data("POST", f"{self.base}/reserveUpload", json=body | more)

    def chunk(
        self, name: str, content: bytes, number: int = 1, upload_id: str = "u1", **more: Any
    ) -> httpx.Response:
        """Send one chunk of a file of which all bytes are given."""
        piece = content[(number - 1) * CHUNK_BYTES : number * CHUNK_BYTES]
        fields = {
            "resumableChunkNumber": number,
            "resumableChunkSize": CHUNK_BYTES,
            "resumableCurrentChunkSize": len(piece),
            "resumableTotalChunks": -(-len(content) // CHUNK_BYTES),
            "resumableIdentifier": f"{upload_id}/{name}",
        } | more
        return self.data("POST", self.base, data=fields, files={"file": ("blob", piece)})

    def send(self, folder: Path, upload_id: str = "u1") -> None:
        """Send every chunk of every file, the last ones first."""
        for path in reversed(files_of(folder)):
            content = path.read_bytes()
            for number in range(-(-len(content) // CHUNK_BYTES), 0, -1):
                name = path.relative_to(folder).as_posix()
                assert 200 == self.chunk(name, content, number, upload_id).status_code

    def finish(self, upload_id: str = "u1", timeout: float = 5.0) -> httpx.Response:
        """Finish."""
        path = f"{self.base}/finishUpload"
        if self.version < 14:
            return self.data("POST", path, json={"uploadId": upload_id}, timeout=timeout)
        return self.data("POST", path, params={"uploadId": upload_id}, timeout=timeout)


def files_of(folder: Path) -> list[Path]:
    """Return all files of a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def first_error(response: httpx.Response) -> str:
    """Return the outermost text of an error."""
    text: str = response.json()["messages"][0]["error"]
    return text


def chain(response: httpx.Response) -> str:
    """Return the chain of an error."""
    text: str = response.json()["messages"][1]["chain"]
    return text


@pytest.mark.parametrize("version", [10, 13, 14, 16])
def test_upload_is_put_together(server: WebknossosServer, dataset: Path, version: int) -> None:
    """What is sent, last chunks first, lies there as it was; what no mag needs is dropped."""
    with Client(server, version=version) as client:
        assert b"" == client.reserve(dataset).content
        client.send(dataset)
        answer = client.finish().json()
        (found,) = server.datasets("exp")
        assert {("datasetId" if version >= 14 else "newDatasetId"): found.id} == answer
        shown = client.api("GET", f"/datasets/{found.id}").json()

    arrived = server.files(found)
    expected = {
        path.relative_to(dataset): path.read_bytes() for path in files_of(dataset / "color")
    }
    assert expected == {path.relative_to(arrived): path.read_bytes() for path in files_of(arrived)}
    assert shown["isActive"]
    assert "status" not in shown["dataSource"]
    assert shown["dataSource"]["dataLayers"][0]["mags"][0]["path"] == str(arrived / "color/1")


def test_voxels_are_served(server: WebknossosServer, dataset: Path) -> None:
    """A box comes in Fortran order, channels first; beyond the data it is zero."""
    with Client(server) as client:
        client.reserve(dataset)
        client.send(dataset)
        dataset_id = client.finish().json()["datasetId"]
        box = {"mag": "1-1-1", "x": 15, "y": 2, "z": 3, "width": 8, "height": 4, "depth": 3}
        answer = client.data("GET", f"/datasets/{dataset_id}/layers/color/data", params=box)

    voxels = np.frombuffer(answer.content, np.uint8).reshape((1, 8, 4, 3), order="F")
    assert np.array_equal(VOXELS[:, 15:20, 2:6, 3:6], voxels[:, :5])
    assert not voxels[:, 5:].any()
    assert "[]" == answer.headers["missing-buckets"]


def test_versions_bound_the_routes(tmp_path: Path, dataset: Path) -> None:
    """Each side refuses versions beyond its own; routes exist in their versions only."""
    behaviour = Behaviour(newest_version=15, datastore_newest_version=13)
    with WebknossosServer(tmp_path / "wk", behaviour) as server:
        with Client(server, version=99) as client:
            answer = client.api("GET", "/user")
            assert 404 == answer.status_code
            assert "Client requested 99 but must be at least 10 and at most 15." in (
                first_error(answer)
            )
        with Client(server, version=15) as client:
            assert 200 == client.api("GET", "/user").status_code
            assert "at most 13" in first_error(client.reserve(dataset))
        with Client(server, version=13) as client:
            assert 404 == client.data("GET", "/datasets/unfinishedUploads").status_code
            client.reserve(dataset)
            params = {"organizationName": "lab"}
            path = "/datasets/getUnfinishedUploads"
            assert "u1" == client.data("GET", path, params=params).json()[0]["uploadId"]
            server.behaviour = Behaviour()
            assert 404 == client.data("GET", path, params=params).status_code
            assert 404 == client.data("POST", "/datasets/cancelUpload", json={}).status_code
            unversioned = f"{server.datastore_url}/data/datasets"
            query = "resumableChunkNumber=1&resumableIdentifier=u1/a"
            assert 204 == client.http.get(f"{unversioned}?{query}").status_code


def test_who_may_what(server: WebknossosServer, dataset: Path) -> None:
    """401 and 403 are plain text; only those with the right may begin, and only there."""
    with Client(server, token="nobody") as client:
        answer = client.api("GET", "/user")
        assert (401, "text/plain; charset=UTF-8") == (
            answer.status_code, answer.headers["content-type"],
        )  # fmt: skip
        assert "Please log in." in answer.text
        answer = client.reserve(dataset)
        assert 403 == answer.status_code
        assert answer.text.endswith("Access forbidden: Invalid access token")
    for who, status in (("member", 403), ("stranger", 403), ("team", 400), ("manager", 200)):
        with Client(server, token=TOKENS[who]) as client:
            assert status == client.reserve(dataset, upload_id=who).status_code
    with Client(server, token=TOKENS["team"]) as client:
        em = next(f.id for f in server.world.folders.values() if f.name == "em")
        assert "No write access in this folder." in chain(client.reserve(dataset, upload_id="t"))
        assert 200 == client.reserve(dataset, upload_id="t", folderId=em).status_code
        client.chunk("a", b"1", upload_id="t")
        cancel = {"params": {"uploadId": "t"}, "json": {"uploadId": "t"}}
        assert 403 == client.data("POST", f"{client.base}/cancelUpload", **cancel).status_code
    with Client(server) as client:
        assert 200 == client.data("POST", f"{client.base}/cancelUpload", **cancel).status_code
        assert 400 == client.data("POST", f"{client.base}/cancelUpload", **cancel).status_code


def test_query_token_wins_on_the_datastore(server: WebknossosServer, dataset: Path) -> None:
    """The datastore takes the token of the query before that of the header."""
    with Client(server) as client:
        answer = client.data("POST", f"{client.base}/reserveUpload?token=x", json={})
        assert 400 == answer.status_code  # the schema is looked at first
        client.reserve(dataset)
        query = {"resumableChunkNumber": 1, "resumableIdentifier": "u1/a", "token": "nobody"}
        assert 403 == client.data("GET", client.base, params=query).status_code


@pytest.mark.parametrize(
    ("behaviour", "more", "cause"),
    [
        (Behaviour(quota_bytes=10), {"datasetName": "a/b"}, "storage quota"),
        (Behaviour(), {"datasetName": "a b"}, "only letters, digits"),
        (Behaviour(), {"datasetName": ".ab"}, "does not start with a dot"),
        (Behaviour(), {"datasetName": "ab"}, "at least three characters"),
        (Behaviour(), {"layersToLink": [{"datasetId": "x"}]}, "link all requested layers"),
        (Behaviour(), {"folderId": "0" * 24}, "No write access"),
    ],
)
def test_reservation_is_refused(
    server: WebknossosServer, dataset: Path, behaviour: Behaviour, more: dict[str, Any], cause: str
) -> None:
    """What WEBKNOSSOS refuses comes as 400 of the datastore, its cause in the chain only."""
    server.behaviour = behaviour
    with Client(server) as client:
        answer = client.reserve(dataset, **more)

    assert 400 == answer.status_code
    assert "Could not validate dataset information for upload." == first_error(answer)
    assert cause in chain(answer)
    assert [] == server.datasets()


def test_reservation_of_a_bad_body(server: WebknossosServer, dataset: Path) -> None:
    """What does not match the schema is told in Play's form, one key a path."""
    with Client(server) as client:
        answer = client.data("POST", f"{client.base}/reserveUpload", json={"datasetName": 3})
        missing = [{"msg": ["error.path.missing"], "args": []}]
        assert 400 == answer.status_code
        assert missing == answer.json()["obj.resumableUploadInfo.uploadId"]
        assert "obj.datasetName" in answer.json()
        assert 400 == client.api("GET", "/datasets/12").status_code
        assert 404 == client.api("GET", f"/datasets/{'0' * 24}").status_code


def test_reserving_again_changes_nothing(server: WebknossosServer, dataset: Path) -> None:
    """The same upload id is answered 200, whatever else is said; names may be given twice."""
    with Client(server) as client:
        client.reserve(dataset)
        assert 200 == client.reserve(dataset, datasetName="other").status_code
        assert 200 == client.reserve(dataset, upload_id="u2").status_code
        taken = client.reserve(dataset, upload_id="u3", requireUniqueName=True)
        assert "is already taken" in chain(taken)

    assert ["exp", "exp"] == [found.name for found in server.datasets()]
    assert {"Not yet fully uploaded."} == {found.status for found in server.datasets()}


def test_chunks_are_refused(server: WebknossosServer, dataset: Path) -> None:
    """A chunk that cannot be is refused by what is wrong with it, and may come again."""
    with Client(server) as client:
        client.reserve(dataset)
        unknown = client.chunk("a", b"1", upload_id="u9")
        assert "Could not find running dataset upload" in first_error(unknown)
        assert "zip.file.notFound" == first_error(client.chunk("a", b""))
        assert "Invalid file path" in first_error(client.chunk("../a", b"1"))
        long = client.chunk("a", b"123", resumableCurrentChunkSize=2)
        assert first_error(long).startswith("Error receiving chunk 1 for upload u1:")
        assert "error.number" == first_error(client.chunk("a", b"1", resumableChunkSize="x"))
        assert 200 == client.chunk("a", b"123").status_code
        assert 200 == client.chunk("a", b"456").status_code  # known: not written again
        query = {"resumableChunkNumber": 1, "resumableIdentifier": "u1/a"}
        assert 200 == client.data("GET", client.base, params=query).status_code
        query["resumableChunkNumber"] = 2
        assert 204 == client.data("GET", client.base, params=query).status_code

    assert b"123" == (server.world.root / "uploading/u1/a").read_bytes()


def test_finish_wants_all_chunks(server: WebknossosServer, dataset: Path) -> None:
    """Missing chunks leave the upload alive; its id is worth nothing after it is finished."""
    with Client(server) as client:
        client.reserve(dataset)
        answer = client.finish()
        assert first_error(answer).startswith("Could not finalize upload for dataset “")
        assert "Reserved file count does not match" in chain(answer)
        path = dataset / "color/1/c/0/0/0/0"
        client.chunk("color/1/c/0/0/0/0", path.read_bytes(), 1)
        for other in set(files_of(dataset)) - {path}:
            content = other.read_bytes()
            for number in range(1, len(content) // CHUNK_BYTES + 2):
                client.chunk(other.relative_to(dataset).as_posix(), content, number)
        assert "expected 2, got 1" in chain(client.finish())
        client.chunk("color/1/c/0/0/0/0", path.read_bytes(), 2)
        assert 200 == client.finish().status_code
        assert "Could not find running" in first_error(client.finish())


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("datasource-properties.json", "{", "Invalid json format"),
        ("datasource-properties.json", json.dumps(properties(category="grey")), "Invalid json"),
        ("datasource-properties.json", json.dumps(properties(name="a/b")), "forward slash"),
        (
            "datasource-properties.json",
            json.dumps(properties(mags=[{"mag": [1, 1, 1], "path": "/etc"}])),
            "local paths that leave the dataset",
        ),
        ("more.bin", "x" * 5000, "exceeds the reserved size"),
    ],
)
def test_finish_that_fails_deletes(
    server: WebknossosServer, dataset: Path, name: str, content: str, cause: str
) -> None:
    """Properties that are wrong, and more bytes than reserved, cost the upload and its dataset."""
    with Client(server) as client:
        client.reserve(dataset)
        (dataset / name).write_text(content)
        client.send(dataset)
        answer = client.finish()

    assert 400 == answer.status_code
    assert cause in chain(answer)
    assert [] == server.datasets()
    assert {} == server.world.uploads


def test_second_finish_deletes_the_dataset(server: WebknossosServer, dataset: Path) -> None:
    """Finishing again while the first is at work makes both fail, and the dataset vanish."""
    server.behaviour = Behaviour(finish_s=1.0)
    with Client(server) as client, Client(server) as other:
        client.reserve(dataset)
        client.send(dataset)
        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(client.finish()))
        thread.start()
        while not server.world.uploads["u1"].finishing:
            pass
        assert 400 == other.finish().status_code
        thread.join()

    assert 400 == answers[0].status_code
    assert [] == server.datasets()


def test_slow_finish_succeeds_without_its_client(server: WebknossosServer, dataset: Path) -> None:
    """A client that does not wait leaves; the work goes on, and the dataset becomes usable."""
    server.behaviour = Behaviour(finish_s=1.0)
    with Client(server) as client:
        client.reserve(dataset)
        client.send(dataset)
        with pytest.raises(httpx.ReadTimeout):
            client.finish(timeout=0.1)
        found = server.datasets()[0]
        assert not client.api("GET", f"/datasets/{found.id}").json()["isActive"]
        deadline = time.monotonic() + 20
        while not client.api("GET", f"/datasets/{found.id}").json()["isActive"]:
            assert time.monotonic() < deadline


def test_restart_drops_a_finish(server: WebknossosServer, dataset: Path) -> None:
    """A restart ends a finish that is at work; its upload is there still, and can be finished."""
    server.behaviour = Behaviour(finish_s=5.0)
    with Client(server) as client:
        client.reserve(dataset)
        client.send(dataset)

        def finish_in_vain() -> None:
            with pytest.raises(httpx.TransportError):
                client.finish()

        thread = threading.Thread(target=finish_in_vain)
        thread.start()
        while not server.world.uploads["u1"].finishing:
            pass
        server.restart()
        thread.join()
        server.behaviour = Behaviour()

        assert 200 == client.finish().status_code


def test_finish_whose_answer_a_proxy_ate(server: WebknossosServer, dataset: Path) -> None:
    """504 from the proxy, and the dataset is usable all the same; or 500, and nothing was done."""
    with Client(server) as client:
        client.reserve(dataset)
        client.send(dataset)
        server.faults.add(Fault("finish", status=500), Fault("finish", status=504, is_done=True))
        answers = [client.finish(), client.finish(), client.finish()]

    assert [500, 504, 400] == [answer.status_code for answer in answers]
    assert "Something went wrong." == first_error(answers[0])
    assert server.datasets()[0].is_active


def test_faults_happen_once_and_where_they_are_told(
    server: WebknossosServer, dataset: Path
) -> None:
    """Each fault spoils the requests it names: the work done or not, or the bytes unwritten."""
    known = {"resumableChunkNumber": 1, "resumableIdentifier": "u1/a"}
    with Client(server) as client:
        client.reserve(dataset)

        server.faults.add(Fault("chunk", status=502, skip=1))
        assert [200, 502, 200] == [client.chunk("b", LONG, n).status_code for n in (1, 2, 3)]

        server.faults.add(Fault("chunk", status=504, contains="u1/a#1", is_done=True))
        assert 200 == client.chunk("b", b"1").status_code
        answer = client.chunk("a", b"1")
        assert (504, "text/html") == (answer.status_code, answer.headers["content-type"])
        assert 200 == client.data("GET", client.base, params=known).status_code

        server.faults.add(Fault("chunk", reset="body"), Fault("chunk", reset="answer"))
        for name, status in (("c", 204), ("d", 200)):
            with pytest.raises(httpx.TransportError):
                client.chunk(name, b"1" * 900)
            query = known | {"resumableIdentifier": f"u1/{name}"}
            assert status == client.data("GET", client.base, params=query).status_code

        server.faults.add(Fault("chunk", is_unwritten=True))
        assert 200 == client.chunk("e", b"1").status_code
        assert not (server.world.root / "uploading/u1/e").exists()

        server.behaviour = Behaviour(max_body_bytes=500)
        answer = client.chunk("f", b"1" * 900)
        assert (413, "text/html") == (answer.status_code, answer.headers["content-type"])
        assert () == server.faults.pending()


def test_token_lasts_two_minutes_longer_on_the_datastore(
    server: WebknossosServer, dataset: Path
) -> None:
    """WEBKNOSSOS knows at once that a token is gone, the datastore when its memory ends."""
    with Client(server) as client:
        client.reserve(dataset)
        client.chunk("a", b"1")
        server.revoke(server.token)
        assert 401 == client.api("GET", "/user").status_code
        assert 200 == client.chunk("a", LONG, 2).status_code
        server.clock.advance(121)
        assert 403 == client.chunk("a", LONG, 3).status_code


def test_uploads_expire_and_survive_restarts(server: WebknossosServer, dataset: Path) -> None:
    """A restart breaks connections and keeps uploads; two idle weeks end them."""
    query = {"organizationName": "lab"}
    with Client(server) as client:
        client.reserve(dataset)
        client.chunk("a", b"1")
        server.restart()
        path = f"{client.base}/unfinishedUploads"
        assert "u1" == client.data("GET", path, params=query).json()[0]["uploadId"]
        server.clock.advance(14 * 86_400 + 1)
        assert [] == client.data("GET", path, params=query).json()
        assert "Could not find running" in first_error(client.chunk("a", b"1", 2))


def test_lists_and_names(tmp_path: Path) -> None:
    """Names are judged in their order; the first datastore may be closed; the search is fuzzy."""
    behaviour = Behaviour(has_closed_datastore=True, newest_version=15)
    with (
        WebknossosServer(tmp_path / "wk", behaviour) as server,
        Client(server, version=15) as client,
    ):
        stores = client.api("GET", "/datastores").json()
        assert [False, True] == [store["allowsUpload"] for store in stores]
        assert server.url != server.datastore_url == stores[1]["url"]
        answer = client.api("GET", "/datasets/.x y/isValidNewName").json()
        assert "only letters" in answer["errors"]
        server.behaviour = replace(behaviour, are_name_errors_listed=True)
        answer = client.api("GET", "/datasets/ab/isValidNewName").json()
        assert (False, list) == (answer["isValid"], type(answer["errors"]))
        client.reserve(tmp_path)
        found = client.api("GET", "/datasets", params={"searchQuery": "XP"}).json()
        assert "dataSource" in found[0]
        found = client.api("GET", "/datasets", params={"compact": "true"}).json()
        assert "Not yet fully uploaded." == found[0]["status"]


def test_metadata_and_folders(server: WebknossosServer, dataset: Path) -> None:
    """An update changes what it names; folders may repeat; keys of metadata may not."""
    with Client(server) as client:
        client.reserve(dataset)
        place = f"/datasets/{server.datasets()[0].id}"
        root = client.api("GET", "/folders/root").json()["id"]
        made = client.api("POST", "/folders/create", params={"parentId": root, "name": "em"}).json()
        names = [f["name"] for f in client.api("GET", "/folders/tree").json()]
        assert ["Datasets", "em", "em"] == names
        entry = {"key": "run", "type": "string", "value": "r1"}
        shown = client.api("PATCH", f"{place}/updatePartial", json={"tags": ["a"]}).json()
        shown = client.api(
            "PATCH", f"{place}/updatePartial", json={"metadata": [entry], "folderId": made["id"]}
        ).json()
        assert (["a"], [entry], made["id"]) == (
            shown["tags"], shown["metadata"], shown["folderId"],
        )  # fmt: skip
        twice = client.api("PATCH", f"{place}/updatePartial", json={"metadata": [entry, entry]})
        assert "Metadata keys must be unique." == first_error(twice)
        team = server.world.teams[0].id
        assert [team] == client.api("PATCH", f"{place}/teams", json=[team]).json()
        server.behaviour = Behaviour(can_delete=False)
        assert "not enabled" in first_error(client.api("DELETE", place))
        server.behaviour = Behaviour()
        assert 200 == client.api("DELETE", place).status_code


def test_the_server_as_its_own_process(tmp_path: Path) -> None:
    """It prints where it listens, obeys what is told beside the API, and ends by a signal."""
    command = [sys.executable, "-m", "stackwatch.testing.webknossos_server"]
    options = ["--dir", str(tmp_path / "wk"), "--behaviour", '{"newest_version": 13}']
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
        with httpx.Client(base_url=told["url"], trust_env=False) as client:
            versions = client.get("/api/buildinfo").json()["httpApiVersioning"]
            assert 13 == versions["currentApiVersion"]
            client.post("/_test/faults", json=[{"route": "buildinfo", "status": 503}])
            assert 503 == client.get("/api/buildinfo").status_code
            client.post("/_test/behaviour", json={"newest_version": 15})
            client.post("/_test/restart", json={"down_s": 0.1})
            while True:
                try:
                    state = client.get("/_test/state").json()
                    break
                except httpx.TransportError:
                    continue
            assert ({"buildinfo": 2}, []) == (state["counts"], state["mishaps"])
    finally:
        process.terminate()
        process.stdout.close()

        assert 0 == process.wait(10)


def test_own_authority_and_redirects(tmp_path: Path) -> None:
    """Its certificate is worth nothing without its authority; the front sends elsewhere."""
    made = make_certificates(tmp_path / "tls")
    trusting = ssl.create_default_context(cafile=str(made.ca_file))
    with WebknossosServer(tmp_path / "wk", tls=made.context) as server:
        health = f"{server.url}/api/health"
        assert 200 == httpx.get(health, verify=trusting, trust_env=False).status_code
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(health, trust_env=False)
        with RedirectingFront(server.url) as front:
            answer = httpx.get(f"{front.url}/api/user?a=1", headers={"X-Auth-Token": "t"})
            assert (307, f"{server.url}/api/user?a=1") == (
                answer.status_code, answer.headers["location"],
            )  # fmt: skip
            assert ["t"] == front.tokens


def test_a_body_that_ends_early_is_not_taken(server: WebknossosServer, dataset: Path) -> None:
    """A client that dies within a chunk leaves nothing of it."""
    with Client(server) as client:
        client.reserve(dataset)
        request = client.http.build_request(
            "POST", f"{server.datastore_url}/data/v16{client.base}", data={"a": "b"},
            files={"file": ("blob", b"1" * 5000)},
        )  # fmt: skip
        body = request.read()
        head = f"POST {request.url.path} HTTP/1.1\r\nHost: x\r\n" + "".join(
            f"{name}: {value}\r\n"
            for name, value in request.headers.items()
            if name.startswith(("content-", "x-"))
        )
        port = int(server.datastore_url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + b"\r\n" + body[:2000])

        assert {} == server.world.uploads["u1"].files
