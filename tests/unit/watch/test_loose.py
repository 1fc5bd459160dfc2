"""Loose files become groups by the one number in which their names differ."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackwatch.watch.loose import group_loose


def keys_of(names: list[str]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return members by key, and the single names."""
    groups, single = group_loose(names)
    return {group.key: group.members for group in groups}, single


@pytest.mark.parametrize(
    ("names", "groups", "single"),
    [
        (["img_1.tif", "img_2.tif"], {"img_#.tif": ("img_1.tif", "img_2.tif")}, []),
        (["img_1.tif"], {}, ["img_1.tif"]),
        (["a_1.tif", "b_1.tif"], {}, ["a_1.tif", "b_1.tif"]),
        (["a_1.tif", "a_2.png"], {}, ["a_1.tif", "a_2.png"]),
        (["run1.zip", "run2.zip"], {}, ["run1.zip", "run2.zip"]),
        (["1.tif", "10.tif"], {"#.tif": ("1.tif", "10.tif")}, []),
        (["scan.001", "scan.002"], {"scan.#": ("scan.001", "scan.002")}, []),
        (["s1.ome.tif", "s2.ome.tif"], {"s#.ome.tif": ("s1.ome.tif", "s2.ome.tif")}, []),
        (["\udcff1.tif", "\udcff2.tif"], {"\udcff#.tif": ("\udcff1.tif", "\udcff2.tif")}, []),
    ],
)  # fmt: skip
def test_group_loose_by_one_number(names, groups, single):
    """Two names that differ in one number are a group, anything else stays single."""
    assert (groups, single) == keys_of(names)


def test_group_loose_takes_the_number_most_names_share():
    """Of two numbers that vary, the one with more members makes the groups."""
    names = [f"c{channel}_z{z}.tif" for channel in (1, 2) for z in range(5)]

    assert {"c1_z#.tif", "c2_z#.tif"} == set(keys_of(names)[0])


def test_group_loose_prefers_the_rightmost_of_equals():
    """With as many names either way the last number varies."""
    names = [f"a{i}_b{j}.tif" for i in (1, 2) for j in (1, 2)]

    assert {"a1_b#.tif", "a2_b#.tif"} == set(keys_of(names)[0])


@pytest.mark.parametrize(
    ("names", "stem"),
    [
        (["img_001.tif", "img_002.tif"], "img"),
        (["1.tif", "2.tif"], "stack"),
        (["z1_dapi.ome.tif", "z2_dapi.ome.tif"], "z_dapi"),
        (["2024-05-01 s1.tif", "2024-05-01 s2.tif"], "2024-05-01 s"),
    ],
)
def test_group_loose_names_the_stem(names, stem):
    """A group is called what its names share, without number, separators and suffix."""
    assert stem == group_loose(names)[0][0].stem


@given(st.lists(st.text(alphabet="ab_12.", min_size=1, max_size=6), unique=True, max_size=12))
def test_group_loose_keeps_every_name_once(names):
    """Each name ends up in one group or alone, keys are unique, and order plays no part."""
    groups, single = group_loose(names)
    members = [name for group in groups for name in group.members]

    assert sorted(names) == sorted(members + single)
    assert len(groups) == len({group.key for group in groups})
    assert all(len(group.members) > 1 for group in groups)
    assert (groups, single) == group_loose(names[::-1])
