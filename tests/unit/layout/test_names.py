"""The grammar of file names, by example; `tests/property/test_names.py` has the laws."""

from fractions import Fraction

import pytest

from stackwatch.layout.assembly import axis_roles
from stackwatch.layout.kinds import FileKind, kind_of, split_suffix
from stackwatch.layout.names import Family, Role, natural_key, parse_families


def the_family(*names: str) -> Family:
    """Return the one family of some names."""
    (family,) = parse_families(names)
    return family


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["img_10", "img_2", "img_1"], ["img_1", "img_2", "img_10"]),
        (["IMG_2", "Img_3", "img_1"], ["img_1", "IMG_2", "Img_3"]),
        (["s1_z10", "s1_z9", "s2_z1"], ["s1_z9", "s1_z10", "s2_z1"]),
        (["3", "２", "1"], ["1", "２", "3"]),
        (["a", "1", "_"], ["1", "_", "a"]),
    ],
)
def test_natural_order(names, expected):
    """Digits count by their value, in any script; case of letters decides last."""
    assert expected == sorted(names, key=natural_key)


@pytest.mark.parametrize(
    ("names", "template", "roles"),
    [
        (["img_1.tif", "img_2.tif"], "img_#.tif", [Role.UNKNOWN]),
        (["img_z1.tif", "img_z2.tif"], "img_z#.tif", [Role.Z]),
        (["slice-1.tif", "slice-2.tif"], "slice-#.tif", [Role.Z]),
        (["imgZ1.tif", "imgZ2.tif"], "imgZ#.tif", [Role.Z]),
        (["a_ch0.tif", "a_ch1.tif"], "a_ch#.tif", [Role.C]),
        (["a_T01.tif", "a_T02.tif"], "a_T#.tif", [Role.T]),
        (["part_1.tif", "part_2.tif"], "part_#.tif", [Role.PART]),
        (["z1_c0.tif", "z1_c1.tif", "z2_c0.tif", "z2_c1.tif"], "z#_c#.tif", [Role.Z, Role.C]),
        (["r0-c0.tif", "r0-c1.tif", "r1-c0.tif"], "r#-c#.tif", [Role.TILE, Role.TILE]),
        (["x1y1.tif", "x1y2.tif", "x2y1.tif"], "x#y#.tif", [Role.TILE, Role.TILE]),
        (["exz1.tif", "exz2.tif"], "exz#.tif", [Role.UNKNOWN]),
        (["run7_1.tif", "run7_2.png"], "run7_#(.png|.tif)", [Role.UNKNOWN]),
        (["a1_z1.ome.tif", "a1_z2.ome.tif"], "a1_z#.ome.tif", [Role.Z]),
        (["z001_slice001.tif", "z002_slice002.tif"], "z#_slice#.tif", [Role.Z]),
        (["7_z1.tif", "8_z2.tif", "7_z3.tif"], "#_z#.tif", [Role.UNKNOWN, Role.Z]),
        (["1_z1.tif", "2_z2.tif"], "#_z#.tif", [Role.Z]),
        (["t1_c1.tif", "t2_c2.tif"], "t#_c#.tif", [Role.T, Role.C]),
    ],
)
def test_words_say_what_numbers_count(names, template, roles):
    """The word directly before a number gives its role; the same number twice is one field."""
    family = the_family(*names)

    assert (template, roles) == (family.template, [field.role for field in family.fields])


def test_the_number_alone_is_the_name():
    """`1.tif`, `2.tif` count although no word stands before the number."""
    family = the_family("10.tif", "9.tif")

    assert ("#.tif", ("9.tif", "10.tif")) == (family.template, family.names)


def test_signs_are_read_where_the_names_demand_it():
    """Row 17b of the peer: stage positions in order, negative ones first."""
    names = ("z-2.0.tif", "z-1.0.tif", "z0.0.tif", "z1.5.tif", "z10.0.tif")
    family = the_family(*reversed(names))

    assert (names, True) == (family.names, family.is_signed)
    assert (-2, -1, 0, Fraction(3, 2), 10) == family.fields[0].values


def test_a_dash_is_no_sign_where_all_names_have_one():
    """`img-1` to `img-3` count upwards."""
    family = the_family("img-1.tif", "img-2.tif", "img-3.tif")

    assert ((1, 2, 3), False) == (family.fields[0].values, family.is_signed)


def test_decimals_are_read_where_they_count():
    """`z0.5` lies between `z0.0` and `z1.0`; it is no time-and-slice grid."""
    family = the_family("z0.0.tif", "z0.5.tif", "z1.0.tif", "z1.5.tif")

    assert (0, Fraction(1, 2), 1, Fraction(3, 2)) == family.fields[0].values
    assert (family.is_decimal, len(family.fields)) == (True, 1)


def test_a_dot_may_divide_two_numbers():
    """`run1.001` to `run1.003`: the first number is the same everywhere."""
    family = the_family("run1.001.tif", "run1.002.tif", "run1.010.tif")

    assert ((1, 2, 10), False) == (family.fields[0].values, family.is_decimal)


def test_strays_form_families_of_their_own():
    """The largest family comes first."""
    families = parse_families(["preview.png", "img_2.tif", "img_1.tif", "overview_1.tif"])

    assert ["img_#.tif", "overview_1.tif", "preview.png"] == [f.template for f in families]


def test_no_names_have_no_family():
    """An empty folder."""
    assert parse_families([]) == ()


def test_undecodable_names_are_names():
    """Bytes that are no UTF-8 do not disturb the grammar."""
    family = the_family("b\udcff_2.tif", "b\udcff_10.tif")

    assert ("b\udcff_2.tif", "b\udcff_10.tif") == family.names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["img_1_ch0.tif", "img_1_ch1.tif", "img_2_ch0.tif"], {0: Role.Z, 1: Role.C}),
        (["a_1_2.tif", "a_2_1.tif"], None),
        (["z1_1.tif", "z2_2.tif", "z1_2.tif"], None),
        (["part1.tif", "part2.tif"], {0: Role.Z}),
        (["t1_z1_c1.tif", "t2_z2_c2.tif", "t1_z2_c1.tif"], {0: Role.T, 1: Role.Z, 2: Role.C}),
    ],
)
def test_one_unknown_number_is_the_slice(names, expected):
    """Two unknown numbers, or one beside a z, have no known meaning."""
    assert expected == axis_roles(the_family(*names))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.OME.TIF", ("a", ".ome.tif")),
        ("a.b.png", ("a.b", ".png")),
        (".tif", (".tif", "")),
        ("a", ("a", "")),
    ],
)
def test_suffixes(name, expected):
    """`.ome.tif` is one suffix, a leading dot is none."""
    assert expected == split_suffix(name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.TIF", FileKind.IMAGE), ("a.jpeg", FileKind.IMAGE), ("a.ome.btf", FileKind.IMAGE),
        ("a.czi", FileKind.IMAGE), ("a.nii.gz", FileKind.IMAGE), ("a.gif", FileKind.FOREIGN),
        ("a.zip", FileKind.ARCHIVE), ("a.tar.gz", FileKind.ARCHIVE),
        ("a.map", FileKind.SIDE), ("a.txt", FileKind.SIDE), ("a", FileKind.SIDE),
        ("tif", FileKind.SIDE),
    ],
)  # fmt: skip
def test_kinds(name, kind):
    """`.map` is text as often as it is MRC: a stage map beside a stack must not stop it."""
    assert kind is kind_of(name)
