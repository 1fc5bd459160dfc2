"""Sizes beyond belief: a header that claims them is damaged or hostile."""

from stackwatch.errors import IncompleteAcquisitionError, LimitExceededError
from stackwatch.model.acquisition import show_path

LARGEST_PLANE_BYTES = 2**40
"""One decoded plane; a million by a million pixels of one byte."""

SMALL_PLANE_BYTES = 2**28
"""Below this a plane is allocated without asking whether the file could hold it."""

LARGEST_RATIO = 40_000
"""Decoded to stored bytes. Deflate reaches 1,032, zstd about 33,000 on a black image."""

MOST_ABSENT = 10
"""Absent planes for each one that is there beyond which a file is not completed with black."""


def check_declared_planes(name: str, declared: int, present: int) -> None:
    """Refuse a file that lacks nearly all planes that it declares, before they are listed.

    Raises
    ------
    IncompleteAcquisitionError
        The caller passes it on.
    """
    if declared > (MOST_ABSENT + 1) * present:
        hint = "Copy the file again, or save it again in its program."
        raise IncompleteAcquisitionError(
            f"“{show_path(name)}” declares {declared:,} planes, {present:,} are there: it was "
            f"aborted, or not written completely. {hint}",
            hint=hint,
            path=show_path(name),
            planes_declared=declared,
            planes_present=present,
        )


def check_declared_size(
    name: str, width: int, height: int, pixel_bytes: int, file_bytes: int
) -> None:
    """Refuse a plane that is larger than the file can hold.

    Raises
    ------
    LimitExceededError
        The caller passes it on; the job parks.
    """
    plane_bytes = width * height * pixel_bytes
    if plane_bytes <= SMALL_PLANE_BYTES:
        return
    if plane_bytes > LARGEST_PLANE_BYTES or plane_bytes > file_bytes * LARGEST_RATIO:
        raise LimitExceededError(
            f"“{show_path(name)}” ({file_bytes:,} bytes) declares {width:,} x {height:,} pixels, "
            f"{plane_bytes / 2**30:,.1f} GiB in one plane: the header is damaged. "
            "Copy the file again, or remove it.",
            hint="Copy the file again, or remove it.",
            path=show_path(name),
            width=width,
            height=height,
            plane_bytes=plane_bytes,
            file_bytes=file_bytes,
        )
