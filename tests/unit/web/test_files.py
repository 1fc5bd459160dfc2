"""Files below one directory and no others: paths, links, ranges, data of datasets, pictures."""

import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackwatch.testing.pages import PageBench, RawAnswer, await_true
from stackwatch.web.files import PIECE, OutOfRange, open_inside, parse_range, split_inside
from stackwatch.web.threads import THREADS_MAX

CONTENT = bytes(range(256)) * 4 * (PIECE // 512)


@pytest.fixture
def data(busy: PageBench) -> str:
    """Lay a dataset where the ledger says it is; return where it is served."""
    with_secret = busy.world.root / "datasets" / "em1"
    dataset = with_secret / "cortex_031"
    (dataset / "color" / "c").mkdir(parents=True, exist_ok=True)
    (dataset / "color" / "zarr.json").write_text('{"node_type": "group"}', encoding="utf-8")
    (dataset / "color" / "c" / "0").write_bytes(CONTENT)
    (with_secret / "secret").write_text("secret", encoding="utf-8")
    for name, to in {"out": "../secret", "up": "..", "own": "color/zarr.json"}.items():
        if not (dataset / name).is_symlink():
            (dataset / name).symlink_to(to)
    return "/data/1"


def fetch(bench: PageBench, path: str, **headers: str) -> RawAnswer:
    """Ask for a path as it stands, without tidying it up as a browser would."""
    return bench.ask_raw(path, {name.replace("_", "-"): value for name, value in headers.items()})


def test_a_file_is_served_whole(busy: PageBench, data: str):
    """All bytes come, with their length and a mark."""
    answer = fetch(busy, f"{data}/color/c/0")

    assert CONTENT == answer.content
    assert str(len(CONTENT)) == answer.headers["content-length"]
    again = fetch(busy, f"{data}/color/c/0", if_none_match=answer.headers["etag"])
    assert (304, b"") == (again.status, again.content)
    assert "application/json" == fetch(busy, f"{data}/color/zarr.json").headers["content-type"]


@pytest.mark.parametrize(
    ("wanted", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=-20", len(CONTENT) - 20, len(CONTENT)),
        (f"bytes={PIECE - 3}-{PIECE + 3}", PIECE - 3, PIECE + 4),
        ("bytes=100-", 100, len(CONTENT)),
        ("bytes=100-99999999999", 100, len(CONTENT)),
    ],
)
def test_a_part_of_a_file_is_served(busy: PageBench, data: str, wanted: str, begin: int, end: int):
    """A range is answered with 206 and exactly its bytes: sharded data is read so."""
    answer = fetch(busy, f"{data}/color/c/0", range=wanted)

    assert 206 == answer.status
    assert CONTENT[begin:end] == answer.content
    assert f"bytes {begin}-{end - 1}/{len(CONTENT)}" == answer.headers["content-range"]


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused(busy: PageBench, data: str, wanted: str):
    """Nothing lies there: 416 with the length."""
    answer = fetch(busy, f"{data}/color/c/0", range=wanted)

    assert 416 == answer.status
    assert f"bytes */{len(CONTENT)}" == answer.headers["content-range"]


@pytest.mark.parametrize(
    "inside",
    [
        "../secret", "%2e%2e/secret", "..%2fsecret", "color/../../secret", "/etc/passwd",
        "%2fetc/passwd", "out", "up/secret", "own", "color", "", ".", "color//zarr.json",
        "color/c/0/x", "color%00/zarr.json", "color/zarr.json%00", "..\\secret", "a/" * 200 + "b",
        "x" * 5000, "%ff", "color/./zarr.json",
    ],
)  # fmt: skip
def test_nothing_outside_a_dataset_is_served(busy: PageBench, data: str, inside: str):
    """No way of writing a path, and no link, leads out of the dataset, or into it by a detour."""
    answer = fetch(busy, f"{data}/{inside}")

    assert 404 == answer.status
    assert b"secret" not in answer.content


@pytest.mark.parametrize("number", ["0", "999", "x", "-1", "1e3", "9" * 30, "%31%20"])
def test_only_published_datasets_are_served(busy: PageBench, data: str, number: str):
    """A number that is no published dataset's leads nowhere."""
    assert 404 == fetch(busy, f"/data/{number}/color/zarr.json").status


def test_a_dataset_that_is_not_in_place_any_more_is_not_served(busy: PageBench):
    """The ledger knows it, the disk does not: 404, no mistake."""
    assert 404 == fetch(busy, "/data/2/color/zarr.json").status


def test_a_pipe_in_a_dataset_does_not_hang_the_page(busy: PageBench, data: str):
    """What is no regular file is not served, and not waited for."""
    pipe = busy.world.root / "datasets" / "em1" / "cortex_031" / "pipe"
    if not pipe.exists():
        os.mkfifo(pipe)

    assert 404 == fetch(busy, f"{data}/pipe").status


def test_pictures_are_served_by_their_run(busy: PageBench):
    """A picture is found under the run's id, and nothing else of the state directory is."""
    answer = fetch(busy, f"/previews/{1:032x}.png")

    assert "image/png" == answer.headers["content-type"]
    assert answer.content.startswith(b"\x89PNG")
    for name in ("ledger.db", f"{99:032x}.png", "..%2fledger.db", f"{1:032x}.txt", f"{1:032x}"):
        assert 404 == fetch(busy, f"/previews/{name}").status


def test_the_viewer_is_served_from_its_folder_alone(busy: PageBench, tmp_path: Path):
    """With `[web] viewer` its files are served, framed by us alone; without it there are none."""
    assert 404 == fetch(busy, "/viewer/").status
    (tmp_path / "index.html").write_text("<p>viewer", encoding="utf-8")
    busy.set_options(viewer=tmp_path)
    try:
        answer = fetch(busy, "/viewer/")
        assert (b"<p>viewer", 404) == (answer.content, fetch(busy, "/viewer/../token").status)
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert "/datasets/1/view" in busy.page("/jobs/1")
    finally:
        busy.set_options(viewer=None)
    assert "/datasets/1/view" not in busy.page("/jobs/1")


# ---------------------------------------------------------------- rules


@given(inside=st.text(alphabet="ab./\\\0", max_size=12))
def test_steps_never_lead_up(inside: str):
    """Whatever the path, its steps are names, or it is refused."""
    steps = split_inside(inside)

    assert steps is None or not {"", ".", ".."} & set(steps)
    assert steps is None or not any("/" in step or "\0" in step for step in steps)


@given(header=st.from_regex(r"(bytes=)?[0-9]{0,4}-?[0-9]{0,4},?", fullmatch=True),
       size=st.integers(0, 5000))  # fmt: skip
def test_a_range_lies_within_the_file(header: str, size: int):
    """Whatever is asked for, what is answered lies within the file and is not empty."""
    try:
        found = parse_range(header, size)
    except OutOfRange:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


def test_no_descriptor_is_left_open(tmp_path: Path):
    """Neither a file that is there nor one that is not leaves anything open but itself."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))

    assert open_inside(tmp_path, ("a", "c")) is None
    assert open_inside(tmp_path, ("a", "b", "c")) is None
    assert open_inside(tmp_path, ("a",)) is None
    opened = open_inside(tmp_path, ("a", "b"))
    assert opened is not None
    assert before + 1 == len(list(Path("/proc/self/fd").iterdir()))
    os.close(opened.descriptor)


def test_no_file_stays_open_for_clients_that_go_away(own: PageBench, data: str):
    """Whoever leaves before the first byte, as viewers do all the time, costs no descriptor."""
    host, _, port = own.server.address.rpartition(":")
    path = own.world.root / "datasets" / "em1" / "cortex_031" / "color" / "c" / "0"
    asked = f"GET {data}/color/c/0 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    for _ in range(40):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(asked)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert CONTENT == fetch(own, f"{data}/color/c/0").content
    await_true(lambda: not count_open(path))


def count_open(path: Path) -> int:
    """Return how many descriptors of this process lead to a file."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found += link.readlink() == path
    return found


def test_many_readers_at_once_get_all(own: PageBench, data: str):
    """More answers than there are threads: each waits for its turn, and none is cut short."""
    with ThreadPoolExecutor(3 * THREADS_MAX) as readers:
        asked = [readers.submit(fetch, own, f"{data}/color/c/0") for _ in range(3 * THREADS_MAX)]
        assert {CONTENT} == {one.result().content for one in asked}


def test_a_file_that_is_cut_short_is_no_mistake(
    own: PageBench, data: str, caplog: pytest.LogCaptureFixture
):
    """The client sees that bytes are missing; nothing of it stands in the log."""
    path = own.world.root / "datasets" / "em1" / "cortex_031" / "color" / "cut"
    path.write_bytes(bytes(64 * PIECE))
    with own.client.stream("GET", f"{data}/color/cut") as answer:
        os.truncate(path, PIECE)
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()

    assert "mistake" not in caplog.text
    await_true(lambda: not count_open(path))


@pytest.mark.parametrize("name", ["page.html", "page.js", "page.svg", "page.css"])
def test_data_is_never_a_page_of_ours(busy: PageBench, data: str, name: str):
    """What somebody has laid into a dataset can run nothing in the name of this page."""
    (busy.world.root / "datasets" / "em1" / "cortex_031" / name).write_text("alert(1)")

    assert "application/octet-stream" == fetch(busy, f"{data}/{name}").headers["content-type"]


def test_a_dataset_that_became_a_link_is_not_followed(own: PageBench, data: str, tmp_path: Path):
    """Who may write to a target cannot have the service's own files served that way."""
    place = own.world.root / "datasets" / "em1" / "cortex_031"
    aside, secret = place.with_name("aside"), tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    place.rename(aside)
    place.symlink_to(tmp_path)
    try:
        assert 404 == fetch(own, f"{data}/secret").status
    finally:
        place.unlink()
        aside.rename(place)


def test_a_part_of_another_state_is_the_whole(busy: PageBench, data: str):
    """A download that is taken up again gets everything if the file is another one meanwhile."""
    answer = fetch(busy, f"{data}/color/c/0", range="bytes=0-3", if_range='"another"')
    assert (200, CONTENT) == (answer.status, answer.content)
    mark = answer.headers["etag"]
    assert 206 == fetch(busy, f"{data}/color/c/0", range="bytes=0-3", if_range=mark).status
