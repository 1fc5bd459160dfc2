"""Folders and archives as sources: nothing outside is reached, nothing changes unnoticed."""

import errno
import os
import zipfile
from pathlib import Path

import pytest

from stackwatch.errors import (
    ChangedDuringConversionError,
    CorruptSliceError,
    ReadError,
    UnsupportedFormatError,
    VanishedError,
)
from stackwatch.model.acquisition import FileEntry
from stackwatch.readers.source import FolderFiles, ZipFiles, ZipLimits


def entry_of(path: Path, rel: str) -> FileEntry:
    """Return the entry a listing would make."""
    found = path.stat()
    return FileEntry(rel, found.st_size, found.st_mtime_ns)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with one file below a subfolder, and its files."""
    (tmp_path / "acquisition/raw").mkdir(parents=True)
    (tmp_path / "acquisition/raw/a.tif").write_bytes(b"pixels")
    files = FolderFiles(tmp_path / "acquisition")
    yield tmp_path, files
    files.close()


def test_folder_opens_and_measures(folder):
    """A file below the root is opened and measured."""
    _, files = folder

    with files.open("raw/a.tif") as file:
        assert b"pixels" == file.read()
    assert 6 == files.size("raw/a.tif")


@pytest.mark.parametrize("rel", ["../outside", "raw/../../outside", "/etc/hostname", ".", "raw/"])
def test_paths_that_leave_the_root(folder, rel):
    """A path that would lead out of the acquisition is refused, before the disk is asked."""
    place, files = folder
    (place / "outside").write_bytes(b"secret")

    with pytest.raises(ReadError):
        files.open(rel)


def test_symlinks_are_never_followed(folder):
    """Neither a linked file nor a linked folder is followed."""
    place, files = folder
    (place / "outside").mkdir()
    (place / "outside/b.tif").write_bytes(b"secret")
    (place / "acquisition/link.tif").symlink_to(place / "outside/b.tif")
    (place / "acquisition/linked").symlink_to(place / "outside")

    for rel in ("link.tif", "linked/b.tif"):
        with pytest.raises(UnsupportedFormatError):
            files.open(rel)


def test_pipe_does_not_block(folder):
    """A pipe named like an image is refused at once, without waiting for a writer."""
    place, files = folder
    os.mkfifo(place / "acquisition/pipe.tif")

    with pytest.raises(UnsupportedFormatError):
        files.open("pipe.tif")


def test_vanished(folder):
    """A file that is gone, and a root that is gone, are told as such."""
    place, files = folder

    with pytest.raises(VanishedError):
        files.open("raw/b.tif")
    with pytest.raises(VanishedError):
        FolderFiles(place / "nowhere")


@pytest.mark.parametrize(
    ("number", "error", "word"),
    [(errno.EACCES, ReadError, "permission"), (errno.EIO, CorruptSliceError, "disk"),
     (errno.ESTALE, CorruptSliceError, "mount")],
)  # fmt: skip
def test_what_the_system_refuses(folder, monkeypatch, number, error, word):
    """A file the system does not give out is told with the remedy (root may open everything)."""
    _, files = folder

    def refuse(*_args, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(error) as caught:
        files.open("a.tif")

    assert word in caught.value.hint


def test_change_is_noticed(folder):
    """More bytes, or another time of change, is a changed file: by path and by open file."""
    place, files = folder
    path = place / "acquisition/raw/a.tif"
    entry = entry_of(path, "raw/a.tif")
    files.check(entry)
    with files.open("raw/a.tif") as file:
        files.check(entry, file)
        os.utime(path, ns=(0, entry.mtime_ns + 1))
        with pytest.raises(ChangedDuringConversionError):
            files.check(entry, file)
    path.write_bytes(b"more pixels")

    with pytest.raises(ChangedDuringConversionError) as caught:
        files.check(entry)

    assert (6, 11) == (caught.value.values["bytes_listed"], caught.value.values["bytes_found"])


def make_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write an archive."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_zip_members(tmp_path, memory_bytes, method):
    """Members come decompressed and seekable, from memory or from the scratch folder."""
    data = bytes(range(256)) * 100
    archive = make_zip(tmp_path / "a.zip", {"raw/a.bin": data}, method)
    (tmp_path / "scratch").mkdir()
    files = ZipFiles(archive, tmp_path / "scratch", ZipLimits(memory_bytes))

    for _ in range(2):
        with files.open("raw/a.bin") as file:
            file.seek(100)
            assert data[100:] == file.read()
    unpacked = len(list((tmp_path / "scratch").iterdir()))
    files.close()

    assert (1 if memory_bytes == 0 else 0) == unpacked
    assert [] == list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
def test_zip_damage(tmp_path, memory_bytes):
    """A member whose bytes are damaged is an error that names it."""
    data = os.urandom(5000)
    archive = make_zip(tmp_path / "a.zip", {"a.bin": data})
    raw = bytearray(archive.read_bytes())
    raw[1000:1010] = bytes(10)
    archive.write_bytes(raw)
    files = ZipFiles(archive, tmp_path, ZipLimits(memory_bytes))

    with pytest.raises(CorruptSliceError) as caught:
        files.open("a.bin")
    files.close()

    assert "a.bin" == caught.value.values["member"]


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
@pytest.mark.parametrize("declared", [10, 90_000])
def test_zip_that_lies_about_size(tmp_path, memory_bytes, declared):
    """A member that unpacks to another size than declared is never unpacked beyond it."""
    archive = make_zip(tmp_path / "a.zip", {"a.bin": bytes(50_000)})
    raw = bytearray(archive.read_bytes())
    at = raw.rindex(b"PK\1\2")
    raw[at + 24 : at + 28] = declared.to_bytes(4, "little")
    archive.write_bytes(raw)
    (tmp_path / "scratch").mkdir()
    files = ZipFiles(archive, tmp_path / "scratch", ZipLimits(0 if memory_bytes == 0 else 2**20))

    with pytest.raises(CorruptSliceError):
        files.open("a.bin")
    largest = max((path.stat().st_size for path in (tmp_path / "scratch").iterdir()), default=0)
    files.close()

    assert largest <= max(declared, 50_000)
    assert [] == list((tmp_path / "scratch").iterdir())


def test_zip_changes_and_missing_members(tmp_path):
    """A rewritten archive is noticed, an unknown member has vanished, a cut archive is damaged."""
    archive = make_zip(tmp_path / "a.zip", {"a.bin": b"1"})
    files = ZipFiles(archive, tmp_path)
    files.check(FileEntry("a.bin", 1, 0))
    with pytest.raises(VanishedError):
        files.open("b.bin")
    make_zip(archive, {"a.bin": b"123456"})
    with pytest.raises(ChangedDuringConversionError):
        files.check(FileEntry("a.bin", 1, 0))
    files.close()
    archive.write_bytes(archive.read_bytes()[:40])

    with pytest.raises(CorruptSliceError):
        ZipFiles(archive, tmp_path)
