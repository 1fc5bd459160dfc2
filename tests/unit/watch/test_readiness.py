"""Readiness, as far as a listing tells: markers, names of transfers, counts, empty files."""

import pytest

from stackwatch.layout.ignore import compile_ignore, is_unfinished
from stackwatch.model.facts import Directives, VetoKind
from stackwatch.watch.marks import FileFacts
from stackwatch.watch.readiness import (
    Markers,
    ReadinessOptions,
    listed_vetoes,
    markers_of_folder,
    markers_of_loose,
    part_markers,
    share_unfinished,
)

DONE = ReadinessOptions(marker="*.done")


def facts_of(**sizes: int) -> list[FileFacts]:
    """Return the facts of files, `__` for a dot and `___` for a slash."""
    names = {name.replace("___", "/").replace("__", "."): size for name, size in sizes.items()}
    return [(name.encode(), size, 0, 0, 0) for name, size in names.items()]


def kinds(*arguments, **options) -> list[VetoKind]:
    """Return the kinds of what a listing says."""
    return [veto.kind for veto in listed_vetoes(*arguments, **options)]


def test_part_markers_leaves_the_content():
    """E15: a marker is no content, wherever it lies; a folder of such a name stays."""
    facts = facts_of(a__tif=1, run__done=0, deep___b__done=0, x__done___c__tif=1)

    content, markers = part_markers(facts, "*.done")

    assert [b"a.tif", b"x.done/c.tif"] == [path for path, *_ in content]
    assert ["run.done", "deep/b.done"] == markers
    assert (facts, []) == part_markers(facts, "")


def test_markers_agree_with_the_listing_of_the_conversion():
    """What the scan parts from the content, the conversion does not list either."""
    ignored_by = compile_ignore(marker="*.done")

    assert ["", "*.done", "", "*.done"] == [
        ignored_by(path) for path in ("a.tif", "run.done", "x.done/", "deep/b.done")
    ]


def test_a_marker_counts_in_the_top_folder():
    """A marker deeper down tells of a part."""
    found = markers_of_folder(["deep/b.done", "run.done"], DONE)

    assert Markers(("run.done",), "*.done") == found


@pytest.mark.parametrize(
    ("marker", "members", "stem", "found", "awaited"),
    [
        ("*.done", ["run.tif"], "run", ["run.done"], "run.done"),
        ("*.done", ["run.tif"], "run", ["run.tif.done"], "run.done"),
        ("COMPLETED", ["run.tif"], "run", ["run.COMPLETED"], "run.COMPLETED"),
        ("*_ok.*", ["run.tif"], "run", ["run_ok.json"], "run_ok.*"),
        ("*.done", ["i_1.tif", "i_2.tif"], "i", ["i.done"], "i.done"),
        ("*.done", ["a[1].tif"], "a[1]", ["a[1].done"], "a[1].done"),
    ],
)
def test_a_loose_marker_bears_the_name(marker, members, stem, found, awaited):
    """Beside loose files the marker of another acquisition says nothing."""
    others = ["other.done", "run2.done", "done", "a1.done", "i_1.tif.done"]
    markers = markers_of_loose(members, stem, [*others, *found], ReadinessOptions(marker=marker))

    assert Markers(tuple(found), awaited) == markers


def test_share_unfinished_finds_whom_it_concerns():
    """E3: a transfer holds back the file it replaces, and the group it will join."""
    names = ["i_1.tif", "i_2.tif", "b.tif", "c_1.tif"]
    unfinished = ["i_3.tif.part", ".b.tif.x7Hs2q", "c_2.tif.filepart", "new.tif.part", ".~tmp~/"]

    assert {
        "i_1.tif": ["i_3.tif.part"], "i_2.tif": ["i_3.tif.part"], "b.tif": [".b.tif.x7Hs2q"],
        "c_1.tif": ["c_2.tif.filepart"],
    } == share_unfinished(unfinished, names, is_grouped=True)  # fmt: skip
    assert {"b.tif": [".b.tif.x7Hs2q"]} == share_unfinished(unfinished, names, is_grouped=False)


@pytest.mark.parametrize(
    ("name", "is_folder"),
    [
        ("a.tif.part", False), (".a.tif.Ab12Cd", False), ("a.tif.filepart", False),
        (".~tmp~", True), (".rsync-partial", True), (".partial", True),
    ],
)  # fmt: skip
def test_names_of_unfinished_transfers(name, is_folder):
    """E3: rsync, browsers and WinSCP call files otherwise until they are whole."""
    assert is_unfinished(name, is_folder=is_folder)


@pytest.mark.parametrize("name", ["._a.tif", "._a.backup", ".DS_Store", "a.tif", ".nfs0001"])
def test_names_that_are_no_transfers(name):
    """E14: companions that macOS writes are no transfers, and hold nothing back."""
    assert not is_unfinished(name, is_folder=False)


def test_every_policy_has_to_hold():
    """E9: marker, count and names are all asked; one that holds does not excuse another."""
    options = ReadinessOptions(marker="*.done", expected_files=3)
    facts = facts_of(a__tif=1, b__tif=1)
    there = Markers(("run.done",), "*.done")

    assert [VetoKind.TEMPORARY, VetoKind.MARKER, VetoKind.COUNT] == kinds(
        facts, options, ("c.tif.part",)
    )
    assert [VetoKind.COUNT] == kinds(facts, options, (), there)
    assert [] == kinds(facts_of(a__tif=1, b__tif=1, c__tif=1), options, (), there)


def test_a_count_leaves_the_sidecar_out_and_knows_too_many():
    """L16: the last file is waited for; a sidecar is none, and its own number wins."""
    options = ReadinessOptions(expected_files=2)
    facts = facts_of(a__tif=1, stackwatch__toml=1)
    (veto,) = listed_vetoes(facts, options, directives=Directives())

    assert (VetoKind.COUNT, "1 of 2 expected files are there") == (veto.kind, veto.reason)
    assert [] == kinds(facts, options, directives=Directives(expected_files=1))
    (many,) = listed_vetoes(facts_of(a=1, b=1, c=1), options)
    assert "only 2 are expected" in many.reason


def test_a_listing_leaves_the_count_to_an_unread_sidecar():
    """A sidecar may say another number: only a probe, which reads it, can tell of a miscount."""
    facts = facts_of(a__tif=1, stackwatch__toml=1)

    assert [] == kinds(facts, ReadinessOptions(expected_files=2))
    assert [VetoKind.COUNT] == kinds(facts_of(a__tif=1), ReadinessOptions(expected_files=2))


def test_an_empty_file_is_a_placeholder():
    """E13: a file of no bytes holds back, but may be meant so."""
    (veto,) = listed_vetoes(facts_of(a__tif=0, b__tif=0, c__tif=1), ReadinessOptions())

    assert (VetoKind.EMPTY_FILE, True) == (veto.kind, veto.is_lapsing)
    assert "“a.tif” and 1 more are empty" == veto.reason
