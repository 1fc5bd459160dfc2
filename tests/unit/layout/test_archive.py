"""Zip archives: the folder they contain, or a refusal with a reason."""

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from stackwatch.errors import (
    AcquisitionError,
    CorruptSliceError,
    LimitExceededError,
    UnsupportedFormatError,
    VanishedError,
)
from stackwatch.layout.archive import list_zip
from stackwatch.layout.listing import list_acquisition
from stackwatch.model.options import LayoutOptions


def pack(
    path: Path,
    members: list[tuple[str | zipfile.ZipInfo, bytes]],
    compression: int = zipfile.ZIP_DEFLATED,
) -> Path:
    """Write an archive of name and content."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_members_are_listed_like_files(tmp_path):
    """Junk is left out, folders are no members, sizes are those of the unpacked files."""
    path = pack(
        tmp_path / "run.zip",
        [("run/", b""), ("run/b.tif", b"12345"), ("run/a.tif", b"123"), ("__MACOSX/._a.tif", b"")],
    )

    listing = list_acquisition(path)

    assert [("run/a.tif", 3), ("run/b.tif", 5)] == [(e.path, e.size) for e in listing.entries]
    assert (path, ("__MACOSX/._a.tif",), True) == (
        listing.root,
        listing.ignored,
        listing.is_whole_folder,
    )


def test_patterns_leave_members_out(tmp_path):
    """`ignore` holds for archives as it does for folders."""
    path = pack(tmp_path / "run.zip", [("a.tif", b"1"), ("previews/a.png", b"1")])

    assert ["a.tif"] == [e.path for e in list_acquisition(path, ("previews/",)).entries]
    assert ["a.tif"] == [
        e.path for e in list_zip(path, LayoutOptions(ignore=("previews/",))).entries
    ]


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("../evil.tif", "outside"),
        ("a/../../evil.tif", "outside"),
        ("/etc/evil.tif", "absolute"),
        ("C:/evil.tif", "absolute"),
        ("a\\b.tif", "backslashes"),
        ("..\\evil.tif", "outside"),
        ("inner.zip", "archive in an archive"),
        ("inner.tar.gz", "archive in an archive"),
    ],
)
def test_harmful_members_are_refused(tmp_path, name, phrase):
    """Paths that leave the folder and archives in archives: the reason names the member."""
    path = pack(tmp_path / "run.zip", [("a.tif", b"1"), (name, b"1")])

    with pytest.raises(UnsupportedFormatError, match=phrase) as caught:
        list_acquisition(path)

    assert name == caught.value.values["member"]


def test_links_in_archives_are_refused(tmp_path):
    """A link member would point anywhere once unpacked."""
    link = zipfile.ZipInfo("link.tif")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = pack(tmp_path / "run.zip", [(link, b"/etc/passwd")])

    with pytest.raises(UnsupportedFormatError, match="symbolic link"):
        list_acquisition(path)


def test_names_cut_by_a_nul_are_refused(tmp_path):
    """What one program reads as `a.tif`, another reads whole."""
    path = pack(tmp_path / "run.zip", [("a.tif#b.tif", b"1")])
    path.write_bytes(path.read_bytes().replace(b"a.tif#", b"a.tif\0"))

    with pytest.raises(UnsupportedFormatError, match="NUL"):
        list_acquisition(path)


def test_an_archive_that_may_not_be_read(tmp_path, monkeypatch):
    """The error is about permissions, not about damage."""

    def deny(path):
        raise PermissionError(13, "Permission denied")

    path = pack(tmp_path / "run.zip", [("a.tif", b"1")])
    monkeypatch.setattr(zipfile, "ZipFile", deny)
    with pytest.raises(AcquisitionError, match="Permission denied"):
        list_acquisition(path)


def test_repeated_members_are_refused(tmp_path):
    """Which of two equal names is the slice cannot be told."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = pack(tmp_path / "run.zip", [("a.tif", b"1"), ("a.tif", b"2")])

    with pytest.raises(UnsupportedFormatError, match="twice"):
        list_acquisition(path)


def test_encrypted_members_are_refused(tmp_path):
    """There is no password to ask for."""
    path = pack(tmp_path / "run.zip", [("a.tif", b"1")])
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 8
    content[at : at + 2] = struct.pack("<H", 1)
    path.write_bytes(content)

    with pytest.raises(UnsupportedFormatError, match="encrypted"):
        list_acquisition(path)


def test_unknown_compression_is_refused(tmp_path):
    """Deflate64 and others need programs of their own."""
    path = pack(tmp_path / "run.zip", [("a.tif", b"1")])
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 10
    content[at : at + 2] = struct.pack("<H", 9)
    path.write_bytes(content)

    with pytest.raises(UnsupportedFormatError, match="method 9"):
        list_acquisition(path)


def test_a_bomb_is_refused_before_anything_is_unpacked(tmp_path):
    """C13: a ratio far beyond that of images, above a harmless size."""
    path = pack(tmp_path / "run.zip", [("a.tif", bytes(80 * 2**20))])

    with pytest.raises(LimitExceededError, match="zip_max_ratio") as caught:
        list_acquisition(path)

    assert caught.value.values["ratio"] > 200
    assert list_zip(path, LayoutOptions(zip_max_ratio=2000)).total_bytes == 80 * 2**20


def test_black_slices_are_no_bomb(tmp_path):
    """A small archive may have any ratio."""
    path = pack(tmp_path / "run.zip", [("a.tif", bytes(2**20))])

    assert 2**20 == list_acquisition(path).total_bytes


def test_the_unpacked_size_is_limited(tmp_path):
    """C13: `zip_max_gib` holds whatever the ratio is."""
    path = pack(tmp_path / "run.zip", [("a.tif", bytes(1000))])

    with pytest.raises(LimitExceededError, match="zip_max_gib"):
        list_zip(path, LayoutOptions(zip_max_gib=1e-7))


@pytest.mark.parametrize("keep", [0, 30, 100])
def test_a_truncated_archive_is_damage(tmp_path, keep):
    """The directory stands at the end: half an archive is none."""
    path = pack(tmp_path / "run.zip", [("a.tif", bytes(500))], zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(CorruptSliceError, match="damaged, or was"):
        list_acquisition(path)


def test_an_archive_that_is_gone(tmp_path):
    """The same error as for a folder."""
    with pytest.raises(VanishedError):
        list_zip(tmp_path / "run.zip", LayoutOptions())
