"""Junk, temporary names and the `ignore` setting."""

import subprocess
import sys

import pytest

from stackwatch.layout.ignore import compile_ignore, finished_name, is_junk


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store", "._img_1.tif", "Thumbs.db", "THUMBS.DB", "desktop.ini", "@eaDir", "__MACOSX",
        ".Trash-1000", ".hidden.tif", "a.tif.part", "a.tif.PART", "a.tmp", "a.crdownload",
        "a.tif.filepart", "~$notes.docx", ".img.tif.Xa81bz", ".stackwatch", "lost+found",
        "a.tif~", "$RECYCLE.BIN", "#recycle",
    ],
)  # fmt: skip
def test_usual_junk_is_left_out(name):
    """Names that no instrument gives its slices never belong to an acquisition."""
    assert is_junk(name)
    assert compile_ignore()(f"run/{name}") != ""
    assert compile_ignore()(f"{name}/a.tif") != ""


@pytest.mark.parametrize("name", ["img_1.tif", "part_1.tif", "tmp", "a.partial.tif", "日本.tif"])
def test_slices_are_not_junk(name):
    """Names that only resemble junk stay."""
    assert not is_junk(name)
    assert compile_ignore()(f"run/{name}") == ""


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("preview*", "preview.png", True),
        ("preview*", "color/preview_1.png", True),
        ("preview*", "previews/a.png", True),
        ("previews/", "previews/a.png", True),
        ("previews/", "run/previews/a.png", True),
        ("previews/", "previews", False),
        ("previews/", "previews/", True),
        ("raw/old/", "raw/old/a.tif", True),
        ("raw/old/", "b/raw/old/a.tif", False),
        ("raw/*.jpg", "raw/a.jpg", True),
        ("raw/*.jpg", "a.jpg", False),
        ("*.JPG", "a.jpg", False),
        ("img[[]1].tif", "img[1].tif", True),
    ],
)
def test_patterns_match_parts_paths_and_folders(pattern, path, matches):
    """Without a slash any part, with one the whole path, with one at the end folders only."""
    expected = pattern if matches else ""

    assert expected == compile_ignore((pattern,))(path)


def test_an_empty_pattern_matches_nothing():
    """A lone slash would otherwise leave everything out."""
    assert compile_ignore(("/", ""))("a.tif") == ""


def test_the_usual_can_be_left_aside():
    """The survey asks for a person's own patterns alone."""
    matcher = compile_ignore(("*.jpg",), with_usual=False)

    assert ("", "*.jpg") == (matcher("a.tif.part"), matcher("a.jpg"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("img_3.tif.part", "img_3.tif"),
        (".img_3.tif.x7Hs2q", "img_3.tif"),
        ("img_3.tif", ""),
        (".hidden.tif", ""),
        ("download.crdownload", "download"),
    ],
)
def test_temporary_names_tell_what_they_will_be(name, expected):
    """Browsers, WinSCP and rsync keep the final name inside the temporary one."""
    assert expected == finished_name(name)


def test_the_scan_process_loads_nothing_heavy():
    """`layout.ignore` brings in the standard library alone."""
    code = (
        "import sys, stackwatch.layout.ignore; "
        "print([m for m in ('numpy', 'tifffile', 'PIL', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
