"""The table of formats: every entry can be opened, and a missing library says how to get it."""

import io
from importlib import import_module

import pytest

from stackwatch.errors import UnsupportedFormatError
from stackwatch.layout.kinds import split_suffix
from stackwatch.readers import formats
from stackwatch.readers.formats import FORMATS, Format, format_named, format_of, show_formats

ND2 = Format("Nikon ND2", (((0, b"nd2!"),),), "nikon", "open_nd2", (".nd2",), "nd2", "nikon")


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_entries(form):
    """Module and function of every entry exist, and its suffixes are its own and whole."""
    module = import_module(f"stackwatch.readers.{form.module}")

    assert callable(getattr(module, form.opener))
    for suffix in form.suffixes:
        assert form is format_named(suffix)
        assert ("a", suffix) == split_suffix(f"a{suffix}")


def test_marks_deep_in_the_header_come_first():
    """An MRC 19,778 columns wide begins with the letters of a BMP, and is an MRC."""
    head = bytearray(512)
    head[0:4], head[208:212] = b"BM\0\0", b"MAP "

    assert "MRC" == getattr(format_of(bytes(head)), "name", None)


def test_missing_library(monkeypatch):
    """A format whose library is not installed is refused with the line that installs it."""

    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named 'nd2', wanted by {name}", name="nd2")

    monkeypatch.setattr(formats, "import_module", absent)
    with pytest.raises(UnsupportedFormatError) as caught:
        ND2.open(io.BytesIO(), "a.nd2")

    assert 'pip install "stackwatch[nikon]"' in caught.value.message
    assert "nd2" == caught.value.values["package"]


def test_broken_installation():
    """A module of our own that is not there is no matter of the file."""
    with pytest.raises(ModuleNotFoundError):
        ND2.open(io.BytesIO(), "a.nd2")


def test_names():
    """Messages name every format that is read."""
    shown = show_formats()

    assert [] == [form.name for form in FORMATS if form.name not in shown]
