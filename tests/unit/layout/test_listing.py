"""One pass over a folder, loose files, a single file."""

import os
import socket
from pathlib import Path

import pytest

from stackwatch.errors import AcquisitionError, VanishedError
from stackwatch.layout.listing import list_acquisition
from stackwatch.model.acquisition import Listing


def paths(listing: Listing) -> list[str]:
    """Return the paths of a listing's entries."""
    return [entry.path for entry in listing.entries]


def test_files_are_listed_sorted_with_their_marks(tmp_path):
    """Every regular file, at any depth, with size, times and inode."""
    for name in ("b/2.tif", "a.tif", "b/1.tif", "b/c/d.xml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"abc")

    listing = list_acquisition(tmp_path)
    found = (tmp_path / "a.tif").stat()

    assert ["a.tif", "b/1.tif", "b/2.tif", "b/c/d.xml"] == paths(listing)
    assert (3, found.st_mtime_ns, found.st_ctime_ns, found.st_ino) == (
        listing.entries[0].size,
        listing.entries[0].mtime_ns,
        listing.entries[0].ctime_ns,
        listing.entries[0].inode,
    )
    assert (tmp_path, 12, True) == (listing.root, listing.total_bytes, listing.is_whole_folder)


def test_junk_folders_are_not_entered(tmp_path):
    """Hidden folders and the `ignore` setting keep whole folders out, and are named as evidence."""
    for name in (".Trash/old.tif", "__MACOSX/._a.tif", "previews/p.png", "a.tif", "a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    listing = list_acquisition(tmp_path, ignore=("previews/", "*.jpg"))

    assert ["a.tif"] == paths(listing)
    assert (".Trash/", "__MACOSX/", "a.jpg", "previews/") == listing.ignored


def test_links_are_named_and_never_followed(tmp_path):
    """A link out of the folder, one inside, a dangling one and a loop: refusals, all of them."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.tif").write_bytes(b"x")
    run = tmp_path / "run"
    run.mkdir()
    (run / "a.tif").write_bytes(b"x")
    (run / "out.tif").symlink_to(outside / "secret.tif")
    (run / "relative.tif").symlink_to("../outside/secret.tif")
    (run / "in.tif").symlink_to("a.tif")
    (run / "folder").symlink_to(outside)
    (run / "self").symlink_to(".")
    (run / "gone.tif").symlink_to(run / "nothing.tif")

    listing = list_acquisition(run)
    leaves = {r.path for r in listing.refusals if "leaves the acquisition" in r.reason}

    assert ["a.tif"] == paths(listing)
    assert ["folder", "gone.tif", "in.tif", "out.tif", "relative.tif", "self"] == [
        refusal.path for refusal in listing.refusals
    ]
    assert {"folder", "out.tif", "relative.tif"} == leaves


def test_pipes_and_sockets_are_refused_without_opening(tmp_path):
    """Opening a pipe would hang the scan for ever."""
    os.mkfifo(tmp_path / "pipe.tif")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        listing = list_acquisition(tmp_path)

    assert {"pipe.tif": "a named pipe", "s": "a socket"} == {
        refusal.path: refusal.reason for refusal in listing.refusals
    }


def test_a_folder_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    """What cannot be looked into is named: it may hide slices."""
    (tmp_path / "locked").mkdir()
    (tmp_path / "a.tif").write_bytes(b"x")
    real = os.scandir

    def deny(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", deny)
    listing = list_acquisition(tmp_path)

    assert [("locked/", "a folder that cannot be read: Permission denied")] == [
        (refusal.path, refusal.reason) for refusal in listing.refusals
    ]


def test_a_folder_removed_during_the_pass_is_passed_over(tmp_path, monkeypatch):
    """A scan races with people; the next one tells what is there."""
    (tmp_path / "gone").mkdir()
    real = os.scandir

    def vanish(path):
        if Path(path).name == "gone":
            raise FileNotFoundError(2, "No such file or directory")
        return real(path)

    monkeypatch.setattr(os, "scandir", vanish)

    assert ((), ()) == (list_acquisition(tmp_path).entries, list_acquisition(tmp_path).refusals)


def test_names_that_are_no_utf8_survive(tmp_path):
    """The bytes of a name come back from the listing unchanged."""
    raw = b"img_\xff_1.tif"
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + raw)).write_bytes(b"x")

    (path,) = paths(list_acquisition(tmp_path))

    assert raw == os.fsencode(path)


def test_loose_files_are_listed_by_name(tmp_path):
    """Only the members count; a member that is a link is refused, a neighbour not even seen."""
    for name in ("img_1.tif", "img_2.tif", "other.tif"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "img_3.tif").symlink_to("other.tif")

    listing = list_acquisition(tmp_path, members=("img_2.tif", "img_1.tif", "img_3.tif"))

    assert ["img_1.tif", "img_2.tif"] == paths(listing)
    assert ["img_3.tif"] == [refusal.path for refusal in listing.refusals]
    assert not listing.is_whole_folder


def test_patterns_hold_for_loose_files(tmp_path):
    """A member that is ignored is no slice, and is named."""
    for name in ("img_1.tif", "img_2.tif"):
        (tmp_path / name).write_bytes(b"x")
    listing = list_acquisition(tmp_path, ("*_2*",), ("img_1.tif", "img_2.tif"))

    assert (["img_1.tif"], ("img_2.tif",)) == (paths(listing), listing.ignored)


class StubEntry:
    """A directory entry that cannot be looked at."""

    def __init__(self, error: OSError) -> None:
        self.name = "a.tif"
        self._error = error

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        """Return what the directory itself says."""
        return follow_symlinks

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        """Fail as the file system would."""
        raise self._error


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (FileNotFoundError(2, "No such file or directory"), []),
        (OSError(5, "Input/output error"), [("a.tif", "cannot be looked at: Input/output error")]),
    ],
)
def test_files_that_go_or_fail_during_the_pass(tmp_path, monkeypatch, error, refused):
    """A removed file is no file; one that the disk cannot show is named."""
    monkeypatch.setattr(os, "scandir", lambda path: [StubEntry(error)])

    listing = list_acquisition(tmp_path)

    assert refused == [(refusal.path, refusal.reason) for refusal in listing.refusals]


def test_a_folder_that_goes_during_the_pass_is_gone(tmp_path, monkeypatch):
    """Removed between the first look and the listing."""

    def vanish(path):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "scandir", vanish)
    with pytest.raises(VanishedError):
        list_acquisition(tmp_path)


def test_a_link_that_cannot_be_read_is_still_a_link(tmp_path, monkeypatch):
    """It is refused without naming where it leads."""
    (tmp_path / "a.tif").symlink_to("b.tif")

    def deny(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "readlink", deny)

    assert ["a symbolic link"] == [r.reason for r in list_acquisition(tmp_path).refusals]


def test_a_single_file_lies_in_somebodys_folder(tmp_path):
    """The root is the folder around it, which says nothing about the file."""
    (tmp_path / "stack.tif").write_bytes(b"x")
    (tmp_path / "other.tif").write_bytes(b"x")

    listing = list_acquisition(tmp_path / "stack.tif")

    assert (tmp_path, ["stack.tif"], False) == (
        listing.root,
        paths(listing),
        listing.is_whole_folder,
    )


def test_a_file_given_outright_is_not_ignored(tmp_path):
    """Naming a file is stronger than a pattern; a link given by hand leads to its target."""
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to("a.jpg")

    assert ["a.jpg"] == paths(list_acquisition(tmp_path / "a.jpg", ignore=("*.jpg",)))
    assert ["a.jpg"] == paths(list_acquisition(tmp_path / "link.jpg", ignore=("*.jpg",)))


@pytest.mark.parametrize("members", [(), ("img_1.tif",)])
def test_what_is_gone_is_said_to_be_gone(tmp_path, members):
    """A missing folder or member is not an empty acquisition."""
    with pytest.raises(VanishedError, match="is not there"):
        list_acquisition(tmp_path / "nothing", members=members)


def test_a_pipe_is_no_acquisition(tmp_path):
    """Neither a folder nor a regular file."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(AcquisitionError, match="a named pipe"):
        list_acquisition(tmp_path / "pipe")


def test_a_folder_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    """The error is about permissions, not about an empty acquisition."""

    def deny(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(AcquisitionError, match="Permission denied") as caught:
        list_acquisition(tmp_path)

    assert "permissions" in caught.value.hint
