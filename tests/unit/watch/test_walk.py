"""Walking beneath open folders: what the real file system may do meanwhile."""

import errno
import os
import socket
import tracemalloc
from pathlib import Path

import pytest

from stackwatch.watch.mounts import MountChange, MountIdentity
from stackwatch.watch.probe import probe_acquisition
from stackwatch.watch.scan import FolderScan, FolderUnavailable, ScanOptions, scan_folder
from stackwatch.watch.walk import MAX_DEPTH, MAX_PATH_BYTES, Contents, Walker


def write(root: Path, *names: str) -> None:
    """Write small files below a folder, and the folders they need."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


def scanned(root: Path, **more) -> FolderScan:
    """Scan a folder that is available."""
    found = scan_folder(root, ScanOptions(), **more)
    assert isinstance(found, FolderScan)
    return found


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, number: int, *, is_whole=False) -> None:
    """Let the listing of a folder of that name fail, or that of the whole share from then on."""
    opening, scanning = os.open, os.scandir
    failing: set[int] = set()
    failed: list[str] = []

    def open_(path, flags, *arguments, **options):
        descriptor = opening(path, flags, *arguments, **options)
        (failing.add if path == name else failing.discard)(descriptor)
        return descriptor

    def scandir(path="."):
        if path in failing or (is_whole and failed):
            failed.append(name)
            raise OSError(number, os.strerror(number))
        return scanning(path)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENAMETOOLONG])
def test_one_bad_folder_spoils_one_acquisition(tmp_path, monkeypatch, number):
    """L10: a folder that fails deep inside is counted in its acquisition; the others are seen."""
    write(tmp_path, "run/a.tif", "run/bad/b.tif", "other/a.tif")
    fail_at(monkeypatch, "bad", number)

    found = {one.key: one for one in scanned(tmp_path).sightings}

    assert {"run": (1, 1), "other": (1, 0)} == {
        key: (seen.files, seen.unreadable) for key, seen in found.items()
    }
    assert ["run/bad"] == [refusal.path for refusal in found["run"].refusals]


def test_a_share_that_fails_is_unavailable(tmp_path, monkeypatch):
    """C9: when the drop folder fails with the folder inside, it is the share: nothing is gone."""
    write(tmp_path, "run/a.tif")
    fail_at(monkeypatch, "run", errno.EIO, is_whole=True)

    assert isinstance(scan_folder(tmp_path, ScanOptions()), FolderUnavailable)


def test_a_shortage_of_ours_is_not_the_folders(tmp_path, monkeypatch):
    """Too few descriptors end the scan; they do not make an acquisition unreadable."""
    write(tmp_path, "run/deep/a.tif")
    fail_at(monkeypatch, "deep", errno.EMFILE)

    assert isinstance(scan_folder(tmp_path, ScanOptions()), FolderUnavailable)


def step_in(monkeypatch: pytest.MonkeyPatch, at: str, what) -> None:
    """Let something happen right after a folder was listed."""
    listing = Walker.list_folder

    def stepping(self, folder, path, inside, into, *, is_root=False):
        names = listing(self, folder, path, inside, into, is_root=is_root)
        if path == at:
            what()
        return names

    monkeypatch.setattr(Walker, "list_folder", stepping)


def test_a_folder_swapped_for_a_symlink_is_not_followed(tmp_path, monkeypatch):
    """L24: a symlink that takes a folder's place after its listing leads nowhere."""
    drop = tmp_path / "drop"
    write(drop, "run/inner/a.tif", "run/b.tif")
    write(tmp_path / "outside", "secret.tif")

    def swap() -> None:
        (drop / "run/inner").rename(tmp_path / "inner")
        (drop / "run/inner").symlink_to(tmp_path / "outside")

    step_in(monkeypatch, "run", swap)

    assert [1] == [seen.files for seen in scanned(drop).sightings]


def test_a_folder_moved_while_it_is_walked_is_walked_to_the_end(tmp_path, monkeypatch):
    """D9: the walk holds the folder itself, not its name."""
    write(tmp_path, "run/inner/a.tif")
    step_in(monkeypatch, "run", lambda: (tmp_path / "run").rename(tmp_path / "final"))

    assert {"run": 1} == {one.key: one.files for one in scanned(tmp_path).sightings}


def test_sockets_and_pipes_are_refused(tmp_path, monkeypatch):
    """L23: what is no regular file is refused, and its acquisition carries the refusal."""
    write(tmp_path, "run/a.tif")
    monkeypatch.chdir(tmp_path / "run")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.tif")
        os.mkfifo("pipe.tif")
        (seen,) = scanned(tmp_path).sightings

    assert (1, 2) == (seen.files, seen.refused)
    assert ["run/pipe.tif", "run/socket.tif"] == sorted(one.path for one in seen.refusals)


def test_paths_beyond_what_can_be_opened_hold_an_acquisition_back(tmp_path, monkeypatch):
    """L22: a path of more than 4,095 bytes is seen, named, and counted as unreadable."""
    write(tmp_path, "run/a.tif", "run/" + "x" * 251 + ".tif")
    monkeypatch.chdir(tmp_path / "run")
    for _ in range(16):
        Path("n" * 255).mkdir()
        os.chdir("n" * 255)
    Path("late.tif").write_bytes(b"x")

    (seen,) = scanned(tmp_path).sightings

    assert (2, 1) == (seen.files, seen.unreadable)
    assert "longer than 4095 bytes" in seen.refusals[-1].reason


def test_a_file_whose_path_is_too_long_counts_as_unreadable(tmp_path, monkeypatch):
    """L22: the folder can be listed, and the file in it cannot be opened by its name."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    os.chdir("run")
    left = MAX_PATH_BYTES - len(os.fsencode(tmp_path)) - len("/run")
    for _ in range(left // 201):
        Path("n" * 200).mkdir()
        os.chdir("n" * 200)
    Path("short").write_bytes(b"x")
    Path("f" * 250).write_bytes(b"x")

    (seen,) = scanned(tmp_path).sightings

    assert (1, 1) == (seen.files, seen.unreadable)


def test_folders_without_end_are_cut_off(tmp_path, monkeypatch):
    """L22: folders nested deeper than anybody needs are refused before descriptors run out."""
    write(tmp_path, "run/a.tif")
    monkeypatch.chdir(tmp_path / "run")
    for _ in range(MAX_DEPTH + 3):
        Path("d").mkdir()
        os.chdir("d")

    (seen,) = scanned(tmp_path).sightings

    assert (1, 1) == (seen.files, seen.unreadable)
    assert "deeper" in seen.refusals[0].reason


def test_a_mount_inside_is_not_entered(tmp_path):
    """L9: where another file system is mounted the walk stops and says what to do."""
    write(tmp_path, "run/a.tif", "run/nas/b.tif")
    walker, into = Walker(0, mounts=frozenset({"run/nas"})), Contents()
    root = os.open(tmp_path / "run", os.O_RDONLY)
    try:
        walker.walk(root, "run", into)
    finally:
        os.close(root)

    assert ([b"a.tif"], 1) == ([facts[0] for facts in into.files], into.unreadable)
    assert "drop folder of its own" in into.refusals[0].reason


def test_temporary_names_are_gathered_for_the_probe(tmp_path, monkeypatch):
    """E3: names of unfinished transfers reach the probe, each with its own acquisition."""
    write(
        tmp_path, "run/a.tif", "run/b.tif.part", "run/raw/.c.tif.Ab12Cd", "run/.DS_Store",
        "img_1.tif", "img_2.tif", ".img_3.tif.Zz9Yx8", "note.txt.part", "note.txt",
    )  # fmt: skip
    told = set()
    probe = probe_acquisition

    def noting(folder, facts, options, *, temporary=(), **more):
        told.add((Path(folder).name, *sorted(temporary)))
        return probe(folder, facts, options, temporary=temporary, **more)

    monkeypatch.setattr("stackwatch.watch.search.probe_acquisition", noting)
    scanned(tmp_path, keys=frozenset({"run", "img_#.tif", "note.txt"}))

    assert {
        ("run", "b.tif.part", "raw/.c.tif.Ab12Cd"),
        (tmp_path.name, ".img_3.tif.Zz9Yx8"),
        (tmp_path.name, "note.txt.part"),
    } == told


def test_the_name_of_a_file_stands_for_its_group(tmp_path):
    """A look at a loose file that events named finds the group it has joined."""
    write(tmp_path, "img_1.tif", "img_2.tif", "other.tif")

    found = scanned(tmp_path, keys=frozenset({"img_2.tif"}), is_probing=False)

    assert [("img_#.tif", False)] == [(one.key, one.is_probed) for one in found.sightings]


def test_inodes_tell_folders_apart(tmp_path):
    """D9: a sighting of a folder or a file carries its inode, one of a group does not."""
    write(tmp_path, "run/a.tif", "img_1.tif", "img_2.tif", "single.tif")

    inodes = {one.key: one.root_inode for one in scanned(tmp_path).sightings}

    assert {
        "run": (tmp_path / "run").stat().st_ino,
        "img_#.tif": 0,
        "single.tif": (tmp_path / "single.tif").stat().st_ino,
    } == inodes


@pytest.mark.parametrize(("fstype", "phrase"), [("nfs4", "not mounted"), ("", "mounted anew")])
def test_an_empty_root_on_another_mount_is_unavailable(tmp_path, fstype, phrase):
    """L9: an empty folder where something else was mounted before says nothing of its files."""
    now = scanned(tmp_path).mount
    before = MountIdentity(now.device + 1, now.root_inode, fstype or now.fstype, now.mount_point)

    found = scan_folder(tmp_path, ScanOptions(), before)

    assert isinstance(found, FolderUnavailable)
    assert phrase in found.reason


def test_a_bind_mount_that_is_gone_is_noticed(tmp_path):
    """L9: below a bind mount lies a folder of the same device: the mount point tells."""
    now = scanned(tmp_path).mount
    bound = MountIdentity(now.device, now.root_inode + 1, now.fstype, "/elsewhere")

    assert isinstance(scan_folder(tmp_path, ScanOptions(), bound), FolderUnavailable)
    write(tmp_path, "run/a.tif")
    assert MountChange.REPLACED is scanned(tmp_path, expected=bound).mount_change


def test_memory_is_that_of_one_acquisition(tmp_path):
    """L21: the facts of one acquisition's files are held at a time, however many there are."""
    peaks = []
    for number, acquisitions in enumerate((1, 8)):
        root = tmp_path / str(number)
        for acquisition in range(acquisitions):
            folder = root / f"run_{acquisition}"
            folder.mkdir(parents=True)
            for file in range(500):
                (folder / f"slice_{file:05d}.tif").touch()
        scanned(root)
        tracemalloc.start()
        assert 500 * acquisitions == scanned(root).files
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 2 * peaks[0]
