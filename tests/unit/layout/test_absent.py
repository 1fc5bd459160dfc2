"""Planes that a file declares and does not hold: who may make them black, and what is said."""

import pytest

from stackwatch.errors import IncompleteAcquisitionError
from stackwatch.layout.absent import complete_stack
from stackwatch.layout.drafts import StackDraft
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.model.plan import BLACK, PlaneRef


def info(absent=(), partial=()) -> ImageInfo:
    """Return headers of a file that lacks planes."""
    return ImageInfo(
        "czi", 8, 8, PixelFormat("uint8"), size_z=3, absent_tcz=absent, partial_tcz=partial
    )


STACK = StackDraft(
    ("a.czi", "b.czi"),
    (tuple(PlaneRef(file, 0, 1, z) for file in (0, 1) for z in range(3)),),
    "GFP",
)


def test_whole():
    """Nothing absent: the stack as it was, and not a word."""
    assert (STACK, ()) == complete_stack(STACK, {"a.czi": info(), "b.czi": info()}, "park")


def test_absences_of_other_channels():
    """What is absent from another channel is no matter of this stack."""
    other = {"a.czi": info(absent=((0, 0, 1),), partial=((0, 2, 1),))}

    assert (STACK, ()) == complete_stack(STACK, other, "park")


def test_park():
    """The error counts and names the first plane, of the right file."""
    infos = {"a.czi": info(), "b.czi": info(absent=((0, 1, 2), (0, 1, 1)))}

    with pytest.raises(IncompleteAcquisitionError, match=r"2 of 6 slices") as caught:
        complete_stack(STACK, infos, "park")
    assert ("b.czi", [0, 1, 1], 2) == (
        caught.value.values["path"], caught.value.values["first"],
        caught.value.values["missing_count"],
    )  # fmt: skip


def test_black():
    """Absent planes become black, partial ones stay as they are; both are told."""
    infos = {"a.czi": info(absent=((0, 1, 0),)), "b.czi": info(partial=((0, 1, 1),))}

    stack, words = complete_stack(STACK, infos, "black")

    assert [BLACK, 0, 0, 1, 1, 1] == [ref.file for ref in stack.planes_tz[0]]
    assert (
        "1 missing slices become black (`missing_slices`) of “GFP”",
        "1 slices lack tiles, which become black (`missing_slices`) of “GFP”",
    ) == words


def test_nothing_is_there():
    """A stack of which nothing is there is not made of black."""
    every = tuple((0, 1, z) for z in range(3))

    with pytest.raises(IncompleteAcquisitionError) as caught:
        complete_stack(STACK, {"a.czi": info(absent=every), "b.czi": info(absent=every)}, "black")
    assert "missing_slices" not in caught.value.hint
