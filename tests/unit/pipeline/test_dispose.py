"""Archive and delete: whole or not at all, never over something, never what was not published."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stackwatch.errors import (
    DisposalError,
    OutOfSpaceError,
    StackwatchError,
    StillArrivingError,
    TargetNotWritableError,
    VerificationError,
)
from stackwatch.model.disposal import DisposalAction
from stackwatch.model.facts import Sighting
from stackwatch.pipeline import archiving, dispose, pieces, taking
from stackwatch.pipeline.dispose import DisposeRequest, SourceDisposal
from stackwatch.stores import publish
from stackwatch.watch.scan import FolderScan, ScanOptions, scan_folder

MEMORY = Path("/dev/shm")
FILES = {
    "1.tif": b"one",
    "2.tif": b"two" * 1000,
    "Thumbs.db": b"junk",
    "deep/notes.txt": b"",
    "deep/empty/": b"",
    "bad\udcff.tif": b"bytes",
}


@dataclass
class Place:
    """A drop folder with one acquisition, and an archive."""

    root: Path
    drop: Path
    archive: Path

    def sight(self, key: str) -> Sighting:
        """Return what a scan sees of an acquisition."""
        found = scan_folder(self.drop, ScanOptions(), keys=frozenset({key}))
        assert isinstance(found, FolderScan)
        return next(sighting for sighting in found.sightings if sighting.key == key)

    def request(self, action: DisposalAction, key: str = "run") -> DisposeRequest:
        """Return the order to put an acquisition away as it is now."""
        seen = self.sight(key)
        return DisposeRequest(
            folder=self.drop,
            key=seen.key,
            name=seen.name,
            source=seen.source,
            members=seen.members,
            kind=seen.kind,
            stat_mark=seen.stat_mark,
            action=action,
            token="abc-1",
            book=self.root / "disposals" / "abc-1.json",
            archive_to=self.archive,
            beside=seen.beside,
        )

    def start(self, request: DisposeRequest) -> tuple[SourceDisposal, list[Path]]:
        """Return a disposal and the places it announces."""
        announced: list[Path] = []
        return SourceDisposal(request, announced.append), announced


def content(root: Path) -> dict[str, bytes]:
    """Return everything below a folder; folders end in a slash."""
    return {
        path.relative_to(root).as_posix() + "/" * path.is_dir(): b""
        if path.is_dir()
        else path.read_bytes()
        for path in root.rglob("*")
    }


def fill(folder: Path, files: dict[str, bytes]) -> None:
    """Write files; a name that ends in a slash is a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(data)


@pytest.fixture(params=["one file system", "two file systems"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Return a drop folder, and an archive beside it or on another file system."""
    archive = tmp_path / "archive"
    if request.param == "two file systems":
        if not MEMORY.is_dir() or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("/dev/shm is no file system of its own here")
        archive = Path(tempfile.mkdtemp(dir=MEMORY))
    archive.mkdir(exist_ok=True)
    made = Place(tmp_path, tmp_path / "drop", archive)
    fill(made.drop / "run", FILES)
    yield made
    shutil.rmtree(archive)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Place]:
    """Return a drop folder, and an archive on another file system."""
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    archive = Path(tempfile.mkdtemp(dir=MEMORY))
    made = Place(tmp_path, tmp_path / "drop", archive)
    fill(made.drop / "run", FILES)
    yield made
    shutil.rmtree(archive)


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """Return a drop folder with one acquisition."""
    made = Place(tmp_path, tmp_path / "drop", tmp_path / "archive")
    made.archive.mkdir()
    fill(made.drop / "run", FILES)
    return made


def test_archive_moves_all_of_a_folder(place):
    """C17: junk, links, empty folders and odd names too; times stay; the place is announced."""
    (place.drop / "run" / "link").symlink_to("1.tif")
    os.utime(place.drop / "run" / "1.tif", ns=(1, 1_000_000_007))
    before = content(place.drop / "run")
    disposal, announced = place.start(place.request(DisposalAction.ARCHIVE))

    disposed = disposal.run()

    assert [place.archive / "run"] == announced
    assert (place.archive / "run", 5) == (disposed.path, disposed.files)
    assert before == content(place.archive / "run")
    assert (place.archive / "run" / "link").is_symlink()
    assert 1_000_000_007 == (place.archive / "run" / "1.tif").stat().st_mtime_ns
    assert [] == list(place.drop.iterdir())
    assert ["run"] == [path.name for path in place.archive.iterdir()]


def test_archive_never_overwrites(place):
    """C18: where the name is taken the next free one is used, and what stood there is untouched."""
    fill(place.archive / "run", {"older": b"x"})
    fill(place.archive / "run-2", {})
    disposal, announced = place.start(place.request(DisposalAction.ARCHIVE))

    disposal.run()

    assert [place.archive / "run-3"] == announced
    assert {"older": b"x"} == content(place.archive / "run")
    assert b"one" == (place.archive / "run-3" / "1.tif").read_bytes()


@pytest.mark.parametrize("key", ["img_#.tif", "single.tif"])
def test_loose_files_are_archived(place, key):
    """A single file keeps its name, a group becomes a folder; its neighbours stay."""
    fill(place.drop, {"img_1.tif": b"1", "img_2.tif": b"2", "single.tif": b"s"})
    disposal, _ = place.start(place.request(DisposalAction.ARCHIVE, key))

    disposal.run()

    is_group = key == "img_#.tif"
    expected = {"img/", "img/img_1.tif", "img/img_2.tif"} if is_group else {"single.tif"}
    left = {"run", "single.tif"} if is_group else {"run", "img_1.tif", "img_2.tif"}
    assert expected == set(content(place.archive))
    assert left == {path.name for path in place.drop.iterdir()}


def test_what_lies_beside_a_file_goes_with_it(place):
    """Its sidecar and a text that describes it: file and texts become a folder of its name."""
    fill(place.drop, {"v.raw": b"1", "v.json": b"{}", "v.raw.stackwatch.toml": b"", "v.txt": b"n"})
    disposal, announced = place.start(place.request(DisposalAction.ARCHIVE, "v.raw"))

    disposal.run()

    assert [place.archive / "v"] == announced
    assert {"v/", "v/v.raw", "v/v.json", "v/v.raw.stackwatch.toml"} == set(content(place.archive))
    assert {"run", "v.txt"} == {path.name for path in place.drop.iterdir()}


def test_a_sidecar_of_two_files_goes_with_the_last(place):
    """As long as it says something about another file it stays."""
    fill(place.drop, {"a.tif": b"1", "a.czi": b"2", "a.stackwatch.toml": b""})

    for key, left in (("a.tif", {"a.czi", "a.stackwatch.toml"}), ("a.czi", set())):
        place.start(place.request(DisposalAction.ARCHIVE, key))[0].run()
        assert {"run"} | left == {path.name for path in place.drop.iterdir()}

    assert {"a.tif", "a/", "a/a.czi", "a/a.stackwatch.toml"} == set(content(place.archive))


@pytest.mark.parametrize("key", ["run", "img_#.tif", "single.tif"])
def test_delete_leaves_the_folders_above(here, key):
    """What was deleted is gone, its neighbours and the drop folder stay, nothing hidden is left."""
    fill(here.drop, {"img_1.tif": b"1", "img_2.tif": b"2", "single.tif": b"s"})
    kept = {"run": {"run"}, "img_#.tif": {"img_1.tif", "img_2.tif"}, "single.tif": {"single.tif"}}
    disposal, _ = here.start(here.request(DisposalAction.DELETE, key))

    disposed = disposal.run()

    assert disposed.path is None
    everything = {"run", "img_1.tif", "img_2.tif", "single.tif"}
    assert everything - kept[key] == {path.name for path in here.drop.iterdir()}


def change_size(run: Path) -> None:
    """Append to a file."""
    with (run / "1.tif").open("ab") as file:
        file.write(b"more")


def add_file(run: Path) -> None:
    """Let a file arrive."""
    (run / "9.tif").write_bytes(b"late")


def add_unfinished(run: Path) -> None:
    """Let a file begin to arrive that no layer is made from."""
    (run / "9.tif.part").write_bytes(b"late")


def replace_file(run: Path) -> None:
    """Put another file of the same size and time into the place of one."""
    facts = (run / "1.tif").stat()
    (run / "new").write_bytes(b"eno")
    os.utime(run / "new", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    (run / "new").replace(run / "1.tif")


@pytest.mark.parametrize("change", [change_size, add_file, add_unfinished, replace_file])
@pytest.mark.parametrize("action", list(DisposalAction))
def test_what_is_not_what_was_published_is_kept(place, action, change):
    """C16: a changed acquisition is not touched, whatever changed."""
    request = place.request(action)
    change(place.drop / "run")
    before = content(place.drop)
    disposal, announced = place.start(request)

    with pytest.raises(StillArrivingError):
        disposal.run()

    assert (before, [], False) == (content(place.drop), announced, disposal.is_begun)
    assert [] == list(place.archive.iterdir())


@pytest.mark.parametrize("action", list(DisposalAction))
def test_what_changes_at_the_last_moment_is_put_back(place, action, monkeypatch):
    """C16: a file that arrives between the last look and the rename stays, and all others too."""
    request = place.request(action)
    rename = publish.move_new

    def arrive_then_rename(source: Path, target: Path) -> None:
        if source == place.drop / "run" and not (source / "9.tif").exists():
            add_file(source)
        rename(source, target)

    monkeypatch.setattr(taking, "move_new", arrive_then_rename)
    monkeypatch.setattr(archiving, "move_new", arrive_then_rename)
    disposal, _ = place.start(request)

    with pytest.raises(StillArrivingError):
        disposal.run()

    assert FILES.keys() | {"9.tif", "deep/"} == content(place.drop / "run").keys()
    assert ["run"] == [path.name for path in place.drop.iterdir()]


def test_a_folder_that_may_not_be_changed_is_refused_before_anything_is_touched(here, monkeypatch):
    """C18: one read-only folder deep inside is enough; nothing was renamed or removed."""
    request = here.request(DisposalAction.DELETE)
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "deep" not in str(path) and allowed(path, mode)
    )
    before = content(here.drop)
    disposal, _ = here.start(request)

    with pytest.raises(DisposalError) as caught:
        disposal.run()

    assert before == content(here.drop)
    assert "on_success" in caught.value.hint


FAILING = [
    (archiving, "_copy_file"),
    (archiving, "_keep_times"),
    (dispose, "make_folders"),
    (dispose, "ensure_room"),
    (dispose, "write_book"),
    (archiving, "move_new"),
    (taking, "move_new"),
]


@pytest.mark.parametrize(("module", "name"), FAILING, ids=[name for _, name in FAILING])
def test_a_failing_step_leaves_the_source_whole(place, module, name, monkeypatch):
    """C17: whichever step fails, the source is whole and no part stands under the final name."""
    before = content(place.drop)
    disposal, _ = place.start(place.request(DisposalAction.ARCHIVE))

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, name, fail)
    is_local = place.archive.parent == place.root
    if is_local and name in ("_copy_file", "_keep_times", "ensure_room"):
        disposal.run()  # a rename copies nothing
        return

    with pytest.raises((StackwatchError, OSError)):
        disposal.run()

    monkeypatch.undo()
    assert before == content(place.drop) or disposal.is_begun
    assert not (place.archive / "run").exists() or content(place.archive / "run") == content(
        place.drop / "run"
    )
    assert disposal.resume() is None
    disposal.run()
    assert FILES.keys() | {"deep/"} == content(place.archive / "run").keys()
    assert [] == list(place.drop.iterdir())


def test_a_damaged_copy_is_no_copy(far, monkeypatch):
    """C17: a copy that reads back otherwise is thrown away, and the source stays."""
    write = archiving._write
    monkeypatch.setattr(archiving, "_write", lambda number, block: write(number, bytes(len(block))))
    before = content(far.drop)
    disposal, _ = far.start(far.request(DisposalAction.ARCHIVE))

    with pytest.raises(VerificationError):
        disposal.run()

    assert (before, []) == (content(far.drop), list(far.archive.iterdir()))


class Killed(BaseException):
    """The process ends here."""


def die_at(monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Let the process end at a failpoint."""

    def reach(name: str) -> None:
        if name == point:
            raise Killed

    monkeypatch.setattr(dispose, "reach", reach)
    monkeypatch.setattr(taking, "reach", reach)
    monkeypatch.setattr(pieces, "reach", reach)


POINTS = ("before_copy", "after_copy", "before_remove", "mid_remove", "after_remove")


@pytest.mark.parametrize("key", ["run", "img_#.tif", "single.tif", "told.tif"])
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("action", list(DisposalAction))
def test_what_was_cut_off_is_finished(place, action, point, key, monkeypatch):
    """C1, C17: after an end at any point the next process finishes: all is there once, or gone."""
    fill(place.drop, {"img_1.tif": b"1", "img_2.tif": b"2", "single.tif": b"s"})
    fill(place.drop, {"told.tif": b"t", "told.stackwatch.toml": b""})
    request = place.request(action, key)
    before = content(place.drop)
    die_at(monkeypatch, f"dispose.{point}")
    disposal, announced = place.start(request)
    with contextlib.suppress(Killed):
        disposal.run()
    monkeypatch.undo()
    place_told = announced[-1] if announced else None
    request = replace(request, members=(), beside=None, archive_path=place_told)

    resumed, later = place.start(request)
    disposed = resumed.resume()
    if disposed is None:
        assert before == content(place.drop), "untouched means all of it"
        seen = place.sight(key)
        resumed, later = place.start(replace(request, members=seen.members, beside=seen.beside))
        disposed = resumed.run()

    assert not list(place.root.rglob(".stackwatch-*"))
    assert not resumed.is_begun
    if action is DisposalAction.DELETE:
        assert (None, []) == (disposed.path, list(place.archive.iterdir()))
    else:
        assert disposed.path == (later or announced)[-1]
        assert [disposed.path] == list(place.archive.iterdir())
        assert disposed.path.name in ("run", "img", "single.tif", "told")
    everything = {path.name for path in place.drop.iterdir()}
    start = {"run": "run", "img_#.tif": "img", "single.tif": "single", "told.tif": "told"}[key]
    assert set() == {name for name in everything if name.startswith(start)}
    assert 6 - {"img_#.tif": 2, "told.tif": 2}.get(key, 1) == len(everything)


def test_what_came_into_the_taken_folder_is_kept(here, monkeypatch):
    """A file written through a handle that was open before the rename is never removed."""
    request = here.request(DisposalAction.DELETE)
    die_at(monkeypatch, "dispose.mid_remove")
    disposal, _ = here.start(request)
    with pytest.raises(Killed):
        disposal.run()
    monkeypatch.undo()
    taken = here.drop / ".stackwatch-taken-abc-1"
    add_file(taken)

    with pytest.raises(DisposalError) as caught:
        here.start(request)[0].resume()

    assert {"9.tif": b"late"} == content(taken)
    assert str(taken) in caught.value.message


def test_a_lost_list_removes_nothing(here, monkeypatch):
    """Without the list of what was taken, what is left of it is kept."""
    request = here.request(DisposalAction.DELETE)
    die_at(monkeypatch, "dispose.before_remove")
    disposal, _ = here.start(request)
    with pytest.raises(Killed):
        disposal.run()
    monkeypatch.undo()
    request.book.unlink()

    with pytest.raises(DisposalError):
        here.start(request)[0].resume()

    assert FILES.keys() | {"deep/"} == content(here.drop / ".stackwatch-taken-abc-1").keys()


def test_a_new_namesake_is_not_taken_for_the_old(here, monkeypatch):
    """An acquisition dropped under the same name while the old one is removed stays."""
    request = here.request(DisposalAction.DELETE)
    die_at(monkeypatch, "dispose.mid_remove")
    with pytest.raises(Killed):
        here.start(request)[0].run()
    monkeypatch.undo()
    fill(here.drop / "run", {"new.tif": b"new"})

    here.start(request)[0].resume()

    assert {"run/", "run/new.tif"} == content(here.drop).keys()


def test_another_file_system_inside_is_refused(here, monkeypatch):
    """What is mounted inside an acquisition is never removed."""
    facts = (here.drop / "run").stat()
    other = type("Facts", (), {"st_dev": facts.st_dev + 1})
    monkeypatch.setattr(Path, "stat", lambda self, **_: other if self.name == "run" else facts)

    with pytest.raises(DisposalError) as caught:
        pieces.list_pieces(here.drop / "run")

    assert "Unmount it." == caught.value.hint


def test_a_pipe_is_not_copied(place):
    """A named pipe moves with its folder, but is refused where it would have to be copied."""
    os.mkfifo(place.drop / "run" / "pipe")
    disposal, _ = place.start(place.request(DisposalAction.ARCHIVE))
    if place.archive.parent == place.root:
        disposal.run()
        assert (place.archive / "run" / "pipe").is_fifo()
        return

    with pytest.raises(DisposalError):
        disposal.run()

    assert (place.drop / "run" / "pipe").is_fifo()
    assert [] == list(place.archive.iterdir())


@pytest.mark.parametrize("is_there", [False, True])
def test_an_archive_that_cannot_be_written_to_keeps_the_source(here, is_there, monkeypatch):
    """C18: not there, or read-only: nothing is made in its place, and it is tried again later."""
    request = here.request(DisposalAction.ARCHIVE)
    if is_there:

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(taking, "move_new", refuse)
    else:
        here.archive.rmdir()
    before = content(here.drop)
    disposal, announced = here.start(request)

    with pytest.raises(TargetNotWritableError) as caught:
        disposal.run()

    assert caught.value.disposition == "retry"
    assert (before, []) == (content(here.drop), announced)
    assert here.archive.exists() is is_there


def test_a_full_archive_keeps_the_source(far, monkeypatch):
    """C17: where the room is too small nothing is copied; it waits for room."""
    facts = os.statvfs(far.archive)
    full = os.statvfs_result((*facts[:3], 0, 0, *facts[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    before = content(far.drop)

    with pytest.raises(OutOfSpaceError):
        far.start(far.request(DisposalAction.ARCHIVE))[0].run()

    assert (before, []) == (content(far.drop), list(far.archive.iterdir()))
