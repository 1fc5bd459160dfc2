"""Files below one directory and no others: paths, links, ranges, data of datasets, pictures."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackwatch.testing.pages import PageBench, RawAnswer
from stackwatch.web.files import PIECE, OutOfRange, open_inside, parse_range, split_inside

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
