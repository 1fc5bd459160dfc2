"""What a sidecar may say, and what is said of its mistakes."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from stackwatch.errors import SidecarError
from stackwatch.layout.sidecar import (
    MAX_SIDECAR_BYTES,
    Sidecar,
    find_sidecars,
    is_sidecar,
    load_sidecar,
    parse_sidecar,
    read_directives,
    sidecars_beside,
)
from stackwatch.layout.sidecar_keys import LayerValues
from stackwatch.model.facts import Directives
from stackwatch.model.raw import RawFacts

WHOLE = """\
name = "Cortex P21, left"
voxel_size_nm = [11.2, 11.2, 25]
category = "color"
layer_name = "em"
skip = false
upload = true
priority = 5
expected_files = 1200
rescale = [0, 4095]

[raw]
shape = [120, 512, 512]
axes = "zyx"
dtype = "uint16"
byte_order = "big"
offset = 512

[[layer]]
match = "membrane*"
name = "membranes"
category = "segmentation"

[[layer]]
match = "raw"
category = "color"

[metadata]
operator = "A. Meier"
dwell_us = 3.2
"beam current" = [1, 2]
date = 2026-11-22
"""


@pytest.fixture
def load(tmp_path):
    """Write a sidecar and load it."""

    def write_and_load(text: str | bytes) -> Sidecar:
        path = tmp_path / "stackwatch.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_sidecar(path)

    return write_and_load


def problems_of(load, text: str | bytes) -> list[str]:
    """Return all mistakes that are found in a text."""
    with pytest.raises(SidecarError) as caught:
        load(text)
    assert "stackwatch.toml" in caught.value.message
    assert caught.value.hint
    return list(caught.value.values["problems"])


def test_every_key_is_read(load):
    """A sidecar that says everything there is to say."""
    expected = Sidecar(
        file="stackwatch.toml",
        name="Cortex P21, left",
        voxel_size_nm=(11.2, 11.2, 25.0),
        category="color",
        layer_name="em",
        layers=(
            LayerValues("membrane*", "membranes", "segmentation"),
            LayerValues("raw", None, "color"),
        ),
        rescale=(0.0, 4095.0),
        raw=RawFacts((120, 512, 512), "zyx", "uint16", "big", 512),
        metadata={
            "operator": "A. Meier",
            "dwell_us": 3.2,
            "beam current": [1, 2],
            "date": "2026-11-22",
        },
        directives=Directives("Cortex P21, left", False, 5, 1200, True),
    )

    assert expected == load(WHOLE)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "\ufeff", "\r\n"])
def test_an_empty_sidecar_says_nothing(load, text):
    """A file made beforehand, with a byte order mark or the line ends of Windows, is no mistake."""
    assert Sidecar() == load(text)


def test_an_axis_may_stand_alone(load):
    """A table names the axes that are known."""
    assert (None, None, 25.0) == load("voxel_size_nm = { z = 25 }").voxel_size_nm


def test_all_mistakes_are_named_at_once_with_their_lines(load):
    """One look is enough to mend a file."""
    text = """\
# for run 41
voxel_size = [11, 11, 25]
category = "colour"
skip = "yes"
priority = 1.5

[[layer]]
name = "membranes"
[[layer]]
match = "raw"
colour = "red"

[metadata]
machine = { vendor = "x" }
"""
    expected = [
        "line 2: `voxel_size` is not known; did you mean `voxel_size_nm`?",
        'line 3: `category` must be "color" or "segmentation" (is “colour”)',
        "line 4: `skip` must be true or false, without quotes (is “yes”)",
        "line 5: `priority` must be a whole number from -100 to 100 (is 1.5)",
        'line 7: `match` is missing: which layers are meant, as in match = "membrane*"',
        "line 11: `layer[1].colour` is not known; known are match, name, category",
        "line 14: `metadata.machine` must be text, a number, true or false, a date, "
        "or a list of these (is {'vendor': 'x'})",
    ]

    assert expected == problems_of(load, text)


@pytest.mark.parametrize(
    "line",
    [
        "voxel_size_nm = 25",
        "voxel_size_nm = [1, 1]",
        "voxel_size_nm = [1, 1, 0]",
        "voxel_size_nm = [1, 1, -25]",
        "voxel_size_nm = [1, 1, nan]",
        "voxel_size_nm = [1, 1, inf]",
        "voxel_size_nm = [1, 1, true]",
        'voxel_size_nm = [1, 1, "25"]',
        "voxel_size_nm = {}",
        "voxel_size_nm = { w = 2 }",
        "name = 41",
        'name = ""',
        'name = "…"',
        f'name = "{"a" * 201}"',
        'layer_name = " "',
        "skip = 1",
        'upload = "no"',
        "priority = 101",
        "priority = true",
        "expected_files = 0",
        "expected_files = true",
        "layer = 3",
        "raw = 3",
        "[raw]\nshape = 3",
        "[raw]\nshape = [4]",
        "[raw]\nshape = [4, 0]",
        "[raw]\nshape = [4, true]",
        "[raw]\nshape = [2, 3, 4, 5]",
        "[raw]\nshape = [4, 5]\naxes = 'zyx'",
        "[raw]\naxes = 'abc'",
        "[raw]\ndtype = 'complex64'",
        "[raw]\nbyte_order = 'middle'",
        "[raw]\noffset = -1",
        "[raw]\nwidth = 3",
        "rescale = 3",
        "rescale = [1]",
        "rescale = [2, 1]",
        "rescale = [0, nan]",
        "rescale = [0, inf]",
        "metadata = 3",
        "[layer]",
        "[metadata]\nx = nan",
        "[metadata]\nx = [[1]]",
        "[metadata]\nx = [{ y = 1 }]",
        "[[layer]]\nmatch = 3",
        "[[layer]]\nmatch = 'a'\ncategory = 'mask'",
    ],
)
def test_impossible_values_are_one_mistake(load, line):
    """Nothing is taken for what it is not, and the mistake has a line."""
    (problem,) = problems_of(load, line + "\n")

    assert problem.startswith("line ")


def test_a_file_full_of_mistakes_takes_no_time(load):
    """The scan process reads it too: a hundred mistakes are enough, a large file has no lines."""
    text = "".join(f"key_{number} = {number}\n" for number in range(50_000))

    assert 100 == len(problems_of(load, text))


def test_a_key_is_found_where_it_stands(load):
    """A key's name inside a longer text is not taken for the key."""
    text = '[metadata]\nnote = """\nskip = 1\n"""\nother = 2\n[[layer]]\nmatch = "skip"\nskip = 1\n'

    (problem,) = problems_of(load, text)

    assert problem.startswith("line 8: `layer[0].skip` is not known")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'name = "a"\nskip = maybe\n', "line 2, column 8"),
        (b'name = "a\n', "line 1, column 10"),
        (b"name = ", "line 1, column 8"),
        (b'name = "a"\nname = "b"\n', "line 2, column 1"),
        (b'a = 1\nname = "M\xfcller"\n', "line 2, column 10: not UTF-8 (byte 0xfc)"),
        (b"\0\0\0\0", "line 1, column 1"),
        (b"x = " + b"[" * 5000, "brackets in brackets"),
        (b"x = " + b"1" * 5000, "integer"),
        (b"a." * 40 + b"b = 1", "more than 32 words"),
        (b"a." * 400_000 + b"b = 1", "more than 32 words"),
        (b"#" * (MAX_SIDECAR_BYTES + 1), "larger than 1 MiB"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_what_is_no_toml_is_told_with_line_and_column(load, data, expected):
    """Neither damage nor malice ends in anything but a mistake."""
    (problem,) = problems_of(load, data)

    assert expected.lower() in problem.lower()


def test_sidecars_are_known_by_their_names():
    """Both forms, in any case of letters; a hidden one is none."""
    names = ["stackwatch.toml", "Stackwatch.TOML", "a.tif.stackwatch.toml", ".stackwatch.toml",
             "stackwatch.toml.bak", "mystackwatch.toml"]  # fmt: skip

    assert names[:3] == [name for name in names if is_sidecar(name)]


def test_only_the_top_of_a_folder_has_sidecars():
    """A sidecar further below says nothing of the acquisition."""
    assert ("stackwatch.toml",) == find_sidecars(
        ["a.tif", "sub/stackwatch.toml", "stackwatch.toml"]
    )
    beside = [
        "img.stackwatch.toml",
        "img.tif.stackwatch.toml",
        "IMG.stackwatch.toml",
        "img_1.stackwatch.toml",
    ]
    assert ("img.stackwatch.toml", "img.tif.stackwatch.toml") == sidecars_beside(
        beside, "img.tif", "img"
    )


def test_a_link_or_pipe_is_never_opened(tmp_path):
    """L23, L24: a sidecar that is no regular file is a mistake; a pipe would hang for ever."""
    (tmp_path / "real.toml").write_text("skip = true")
    (tmp_path / "stackwatch.toml").symlink_to("real.toml")
    os.mkfifo(tmp_path / "a.stackwatch.toml")

    for name in ("stackwatch.toml", "a.stackwatch.toml"):
        with pytest.raises(SidecarError, match="regular file"):
            load_sidecar(tmp_path / name)


def test_the_scan_takes_what_the_daemon_needs(tmp_path):
    """Directives come from the sidecar among the files."""
    (tmp_path / "stackwatch.toml").write_text("skip = true\npriority = -3\nname = 'x y'")

    found = read_directives(str(tmp_path), ["a.tif", "stackwatch.toml"])

    assert Directives(name="x y", skip=True, priority=-3) == found


@pytest.mark.parametrize("names", [["a.tif"], ["gone.stackwatch.toml"], ["stackwatch.toml"],
                                   ["stackwatch.toml", "b.stackwatch.toml"]])  # fmt: skip
def test_the_scan_takes_nothing_from_a_faulty_sidecar(tmp_path, names):
    """None, one that is gone, one with a mistake, or two: the conversion tells what is wrong."""
    (tmp_path / "stackwatch.toml").write_text("skip = true\npriority = 'high'")
    (tmp_path / "b.stackwatch.toml").write_text("skip = true")

    assert Directives() == read_directives(str(tmp_path), names)


def test_only_what_changes_the_dataset_is_meaning(load):
    """A comment, a priority or an upload asks for no new conversion; a voxel size does."""
    assert (
        {}
        == load("# note\nskip = true\nupload = false\npriority = 3\nexpected_files = 2").meaning()
    )
    assert {"voxel_size_nm": [None, None, 25.0]} == load("voxel_size_nm = { z = 25 }").meaning()
    assert (
        load("category='color'\nname='a'").meaning()
        == load("name='a' # x\ncategory='color'").meaning()
    )


def test_every_example_of_the_page_is_right():
    """What docs/sidecar.md shows can be copied; together it shows every key."""
    page = Path(__file__).resolve().parents[3] / "docs" / "sidecar.md"
    examples = re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)

    shown: set[str] = set()
    for example in examples:
        parse_sidecar(example.encode(), Path("stackwatch.toml"))
        shown |= set(tomllib.loads(example))
    assert {
        "name", "voxel_size_nm", "category", "layer_name", "layer", "skip", "upload", "priority",
        "expected_files", "metadata", "rescale", "raw",
    } == shown  # fmt: skip
