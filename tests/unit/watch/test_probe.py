"""Probing: real files, real holes, real programs that have them open."""

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stackwatch.model.facts import Directives, Veto, VetoKind
from stackwatch.watch.marks import FileFacts
from stackwatch.watch.openers import find_openers
from stackwatch.watch.probe import Probed, probe_acquisition
from stackwatch.watch.readiness import Markers, ReadinessOptions, markers_of_folder, part_markers
from stackwatch.watch.regular import find_hole, open_regular

MIB = 1 << 20


def facts_of(folder: Path) -> list[FileFacts]:
    """Return what a listing shows."""
    found = []
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        if path.is_file() and not path.is_symlink():
            name = os.fsencode(path.relative_to(folder))
            found.append((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))
    return found


def probe(
    folder: Path, marker: str = "", *, is_remote: bool = False, **options: object
) -> list[Veto]:
    """Return what a probe of a folder finds."""
    readiness = ReadinessOptions(marker=marker, **options)  # type: ignore[arg-type]
    facts, found = part_markers(facts_of(folder), marker)
    return [
        *probe_acquisition(
            str(folder),
            facts,
            readiness,
            is_remote=is_remote,
            markers=markers_of_folder(found, readiness),
        ).vetoes
    ]


def kinds(vetoes: list[Veto]) -> list[VetoKind]:
    """Return the kinds of vetoes."""
    return [veto.kind for veto in vetoes]


def test_whole_files_bring_nothing(tmp_path: Path):
    """A folder of written files is ready as it lies."""
    (tmp_path / "a.tif").write_bytes(b"x" * 5000)

    assert Probed() == probe_acquisition(
        str(tmp_path), facts_of(tmp_path), ReadinessOptions(), is_remote=False
    )


# ---------------------------------------------------------------- holes


def make_hole(path: Path, how: str) -> None:
    """Make a file of a mebibyte at its final size, as programs do before they write."""
    with path.open("wb") as file:
        match how:
            case "truncate":
                file.truncate(MIB)
            case "fallocate":
                os.posix_fallocate(file.fileno(), 0, MIB)
            case "seek":
                file.seek(MIB - 1)
                file.write(b"\0")
            case "half":
                file.write(b"x" * (MIB // 2))
                file.truncate(MIB)


@pytest.mark.parametrize("is_remote", [False, True])
@pytest.mark.parametrize("how", ["truncate", "fallocate", "seek", "half"])
def test_preallocated_files_hold_back(tmp_path: Path, how: str, is_remote: bool):
    """E2: however a file came to its final size, what was not written is seen as a hole."""
    make_hole(tmp_path / "a.tif", how)
    (veto,) = probe(tmp_path, is_remote=is_remote)

    assert (VetoKind.HOLE, True) == (veto.kind, veto.is_lapsing)
    assert f"at byte {MIB // 2 if how == 'half' else 0} of {MIB}" in veto.reason


def test_a_filled_file_has_no_hole(tmp_path: Path):
    """E2: when the writer has been everywhere, the veto is gone."""
    path = tmp_path / "a.tif"
    make_hole(path, "fallocate")
    with path.open("r+b") as file:
        file.write(b"x" * MIB)

    assert [] == probe(tmp_path)


def test_blocks_alone_do_not_tell(tmp_path: Path):
    """E2: fallocate gives a file all its blocks; only SEEK_DATA knows that nothing is in them."""
    path = tmp_path / "a.tif"
    make_hole(path, "fallocate")

    assert path.stat().st_blocks * 512 >= MIB
    assert [VetoKind.HOLE] == kinds(probe(tmp_path))


def test_a_file_system_that_cannot_tell_has_no_holes(tmp_path: Path, monkeypatch):
    """Where SEEK_DATA is not known, no veto comes of it."""

    def refuse(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    make_hole(tmp_path / "a.tif", "truncate")
    monkeypatch.setattr(os, "lseek", refuse)

    assert [] == probe(tmp_path)


def test_nothing_but_regular_files_is_opened(tmp_path: Path):
    """A pipe, a socket or a link that took a file's place neither hangs nor is followed."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "empty").touch()

    assert (None, None) == tuple(open_regular(str(tmp_path / name)) for name in ("pipe", "link"))
    descriptor = open_regular(str(tmp_path / "empty"))
    assert descriptor is not None
    assert find_hole(descriptor) is None
    os.close(descriptor)


# ---------------------------------------------------------------- sizes that lag


def test_a_stale_listing_holds_back(tmp_path: Path):
    """E11: where a share's cache shows an old size, opening the file asks the server itself."""
    (tmp_path / "a.tif").write_bytes(b"x" * 100)
    stale = [(b"a.tif", 60, *facts[2:]) for facts in facts_of(tmp_path)]
    found = probe_acquisition(str(tmp_path), stale, ReadinessOptions(), is_remote=True)

    assert [VetoKind.STALE] == kinds([*found.vetoes])
    assert "100 bytes, 60 were listed" in found.vetoes[0].reason


def test_a_vanished_file_is_left_to_the_mark(tmp_path: Path):
    """What went away since the listing changes the mark; a probe does not fail by it."""
    gone = [(b"a.tif", 60, 1, 1, 1)]

    assert Probed() == probe_acquisition(str(tmp_path), gone, ReadinessOptions(), is_remote=False)


# ---------------------------------------------------------------- open files

_HOLD = {
    "write": "f = open(sys.argv[1], 'r+b')",
    "read": "f = open(sys.argv[1], 'rb')",
    "mapped": (
        "import mmap; f = open(sys.argv[1], 'r+b'); m = mmap.mmap(f.fileno(), 0); f.close();"
        "m[0] = 1"
    ),
}


@contextmanager
def held_open(path: Path, how: str) -> Iterator[int]:
    """Let another program have a file open for as long as the block lasts; yield its pid."""
    code = f"import sys; {_HOLD[how]}; print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert b"open\n" == child.stdout.readline()
        try:
            yield child.pid
        finally:
            child.stdin.close()


@pytest.mark.parametrize("how", ["write", "mapped"])
def test_a_writer_holds_back(tmp_path: Path, how: str):
    """E8: a program that may still write is seen, by its descriptor or by its mapping alone."""
    path = tmp_path / "deep" / "a.tif"
    path.parent.mkdir()
    path.write_bytes(b"x" * 8192)
    with held_open(path, how) as pid:
        (veto,) = probe(tmp_path)
        without = probe(tmp_path, veto_open_files=False)

    assert (VetoKind.OPEN, False, []) == (veto.kind, veto.is_lapsing, without)
    assert "deep/a.tif" in veto.reason
    assert f"(pid {pid})" in veto.reason
    assert [] == probe(tmp_path)


def test_a_reader_does_not(tmp_path: Path):
    """A viewer that has a file open holds nothing back, nor do files beside the acquisition."""
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "a.tif"
    path.write_bytes(b"x" * 8192)
    (tmp_path / "run2").mkdir()
    (tmp_path / "run2" / "b.tif").write_bytes(b"x")
    with held_open(path, "read"), held_open(tmp_path / "run2" / "b.tif", "write"):
        assert [] == probe(tmp_path / "run")


def test_we_ourselves_never_count(tmp_path: Path):
    """Our own processes' open files say nothing about an instrument."""
    path = tmp_path / "a.tif"
    path.write_bytes(b"x" * 8192)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        assert [] == find_openers(str(tmp_path))


def test_programs_of_others_are_not_seen(tmp_path: Path):
    """C27: what may not be looked at is "not seen", never an error and never a veto."""
    path = tmp_path / "a.tif"
    path.write_bytes(b"x")
    with held_open(path, "write") as pid:
        proc = tmp_path / "proc"
        (proc / str(pid)).mkdir(parents=True)  # as `ProtectProc=invisible` leaves it
        (proc / "self").mkdir()

        assert [] == find_openers(str(tmp_path), proc=proc)
        assert [] == find_openers(str(tmp_path), proc=tmp_path / "none")


def test_looking_takes_no_lease(tmp_path: Path):
    """C26: while a probe looks, a writer's open never waits: no lease is ever asked for."""
    sources = Path(__file__).parents[3] / "src" / "stackwatch" / "watch"
    code = [path for path in sources.glob("*.py") if "fcntl.fcntl" in path.read_text("utf-8")]
    (tmp_path / "a.tif").write_bytes(b"x")
    descriptor = open_regular(str(tmp_path / "a.tif"))
    assert descriptor is not None
    try:
        writer = os.open(tmp_path / "a.tif", os.O_WRONLY | os.O_NONBLOCK)  # EAGAIN under a lease
        os.close(writer)
    finally:
        os.close(descriptor)

    assert [] == code


# ---------------------------------------------------------------- markers


@pytest.mark.parametrize(
    ("text", "kind", "phrase"),
    [
        ("", None, ""),
        ("finished at noon", None, ""),
        ("[1, 2]", None, ""),
        ('{"status": "success", "files": 2, "bytes": 30}', None, ""),
        ('\ufeff  {"files": 2, "sha256": "ab"}', None, ""),
        ('{"status": "success", "files": 3}', VetoKind.MARKER, "tells of 3 files, 2 are there"),
        ('{"bytes": 31}', VetoKind.MARKER, "tells of 31 bytes, 30 are there"),
        ('{"status": "aborted", "files": 2}', VetoKind.ABORTED, "was aborted"),
        ('{"status": "half"}', VetoKind.MARKER, "`status` is 'half'"),
        ('{"files": "2"}', VetoKind.MARKER, "`files` is '2', not a number"),
        ('{"files": true}', VetoKind.MARKER, "`files` is True"),
        ('{"bytes": -1}', VetoKind.MARKER, "`bytes` is -1"),
        ('{"files": 2', VetoKind.MARKER, "broken JSON"),
        ('{"a":' + "[" * 30_000, VetoKind.MARKER, "broken JSON"),
    ],
)  # fmt: skip
def test_a_marker_has_to_be_true(tmp_path: Path, text: str, kind: VetoKind | None, phrase: str):
    """E10: a marker that carries numbers is believed when they are those that are there."""
    (tmp_path / "a.tif").write_bytes(b"x" * 10)
    (tmp_path / "b.tif").write_bytes(b"x" * 20)
    (tmp_path / "stackwatch.toml").write_text("", "utf-8")
    (tmp_path / "run.done").write_text(text, "utf-8")
    found = probe(tmp_path, "*.done")

    assert ([kind] if kind else []) == kinds(found)
    assert phrase in "".join(veto.reason for veto in found)


def test_the_tenth_file_makes_a_marker_true(tmp_path: Path):
    """E10: with `files` = 10 and nine there, the marker waits for the tenth."""
    (tmp_path / "run.done").write_text(json.dumps({"status": "success", "files": 10}))
    for number in range(9):
        (tmp_path / f"{number}.tif").write_bytes(b"x")
    before = probe(tmp_path, "*.done")
    (tmp_path / "9.tif").write_bytes(b"x")

    assert ([VetoKind.MARKER], []) == (kinds(before), probe(tmp_path, "*.done"))


def test_a_marker_that_came_first_waits_for_the_count(tmp_path: Path):
    """E15: an instrument's early marker does not excuse a missing file."""
    (tmp_path / "run.done").touch()
    (tmp_path / "a.tif").write_bytes(b"x")

    assert [VetoKind.COUNT] == kinds(probe(tmp_path, "*.done", expected_files=2))


def test_markers_that_cannot_be_read(tmp_path: Path):
    """A marker that is gone, or no file, vouches for nothing."""
    (tmp_path / "a.tif").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.done")
    options = ReadinessOptions(marker="*.done")
    found = [
        probe_acquisition(
            str(tmp_path), facts_of(tmp_path), options, is_remote=False, markers=Markers((name,))
        ).vetoes
        for name in ("gone.done", "pipe.done")
    ]

    assert [["the marker “gone.done” was taken away again"], ["the marker “pipe.done” is no regular"
            " file"]] == [[veto.reason for veto in vetoes] for vetoes in found]  # fmt: skip


# ---------------------------------------------------------------- sidecars


def test_a_sidecar_is_read(tmp_path: Path):
    """What the sidecar tells the daemon comes with the probe; its number of files wins."""
    (tmp_path / "a.tif").write_bytes(b"x")
    (tmp_path / "stackwatch.toml").write_text("skip = true\nexpected_files = 2\n", "utf-8")
    found = probe_acquisition(
        str(tmp_path), facts_of(tmp_path), ReadinessOptions(expected_files=1), is_remote=False
    )

    assert Directives(skip=True, expected_files=2) == found.directives
    assert [VetoKind.COUNT] == kinds([*found.vetoes])


@pytest.mark.parametrize("name", ["a.tif", "stackwatch.toml", "run.done"])
def test_a_file_that_fails_holds_back_its_acquisition_alone(tmp_path: Path, monkeypatch, name: str):
    """A bad sector is a veto about one acquisition; the drop folder goes on."""
    for file in ("a.tif", "stackwatch.toml", "run.done"):
        (tmp_path / file).write_bytes(b"# x")
    real = os.open

    def fail(path: Any, *arguments: Any, **options: Any) -> int:  # as os.open
        if str(path).endswith(name):
            raise OSError(5, "Input/output error")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", fail)
    found = probe(tmp_path, "*.done")

    assert any("Input/output error" in veto.reason for veto in found)
    assert not any(veto.is_lapsing for veto in found)


def test_a_shortage_of_ours_is_no_veto(tmp_path: Path, monkeypatch):
    """Without descriptors nothing can be said of any file: the scan has failed."""
    (tmp_path / "a.tif").write_bytes(b"x")

    def fail(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", fail)

    with pytest.raises(OSError, match="Too many open files"):
        probe(tmp_path)
