"""Planes that a file declares and does not hold: refused, or black where that is wished. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from stackwatch.errors import IncompleteAcquisitionError
from stackwatch.layout.drafts import StackDraft
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import ImageInfo
from stackwatch.model.plan import BLACK, PlaneRef

_Plane = tuple[int, int, int]


def complete_stack(
    stack: StackDraft, infos: Mapping[str, ImageInfo], missing_slices: Literal["park", "black"]
) -> tuple[StackDraft, tuple[str, ...]]:
    """Return a stack in which absent planes are black, and what is to be said about it.

    Parameters
    ----------
    stack : StackDraft
    infos : mapping of str to ImageInfo
        What the headers of its files tell, of those that were looked at; readers refuse absent
        planes of the others.
    missing_slices : "park" | "black"

    Raises
    ------
    IncompleteAcquisitionError
        Planes are absent and may not be black, or none of the stack is there. The caller parks:
        the file waits for its rest.
    """
    absent = _of_stack(stack, {path: info.absent_tcz for path, info in infos.items()})
    partial = _of_stack(stack, {path: info.partial_tcz for path, info in infos.items()})
    if not absent and not partial:
        return stack, ()
    count = sum(len(planes) for planes in stack.planes_tz)
    if missing_slices == "park" or len(absent) == count:
        raise _incomplete(stack, absent, partial, count)
    planes_tz = tuple(
        tuple(PlaneRef(BLACK) if plane in absent else plane for plane in planes)
        for planes in stack.planes_tz
    )
    words = []
    if absent:
        words.append(f"{len(absent)} missing slices become black (`missing_slices`)")
    if partial:
        words.append(f"{len(partial)} slices lack tiles, which become black (`missing_slices`)")
    name = f" of “{stack.label}”" if stack.label else ""
    return replace(stack, planes_tz=planes_tz), tuple(f"{word}{name}" for word in words)


def _of_stack(stack: StackDraft, named: Mapping[str, tuple[_Plane, ...]]) -> set[PlaneRef]:
    """Return those planes of a stack that are named for its files."""
    found = {
        PlaneRef(number, *plane)
        for number, path in enumerate(stack.files)
        for plane in named.get(path, ())
    }
    return found and {ref for planes in stack.planes_tz for ref in planes if ref in found}


def _incomplete(
    stack: StackDraft, absent: set[PlaneRef], partial: set[PlaneRef], count: int
) -> IncompleteAcquisitionError:
    first = min(absent or partial, key=lambda ref: (ref.file, ref.t, ref.c, ref.z))
    path = show_path(stack.files[first.file])
    lacking = f"{len(absent)} of {count} slices are not in the file"
    if not absent:
        lacking = f"{len(partial)} of {count} slices have fewer tiles than others"
    padding = "" if len(absent) == count else ', or set `missing_slices = "black"`'
    hint = f"Copy the file again, or save it again in the instrument's program{padding}."
    return IncompleteAcquisitionError(
        f"“{path}” is not complete: {lacking}, first timepoint {first.t}, channel {first.c}, "
        f"slice {first.z}. It was aborted, or not written completely. {hint}",
        hint=hint,
        path=path,
        missing_count=len(absent),
        partial_count=len(partial),
        first=[first.t, first.c, first.z],
    )
