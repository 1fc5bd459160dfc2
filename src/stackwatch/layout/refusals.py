"""What the rules say when a content is of their kind, but cannot be converted as it is."""

from typing import Final

from stackwatch.errors import (
    AmbiguousLayoutError,
    IncompleteAcquisitionError,
    UnknownLayoutError,
)
from stackwatch.layout.drafts import NAMED_AXES, SEQUENCE, Content
from stackwatch.layout.names import Family, Role
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import ImageInfo

MOST_CHANNELS: Final = 16
"""In file names; beyond it “c” is more likely to count cuts or cells."""


def refuse_stated_twice(content: Content, roles: dict[int, Role]) -> AmbiguousLayoutError | None:
    """Return an error if names and files both count channels, or both timepoints."""
    info = content.first
    for role, size, word in ((Role.C, info.size_c, "channel"), (Role.T, info.size_t, "timepoint")):
        if role in roles.values() and size > 1:
            return AmbiguousLayoutError(
                f"The file names of {content.shown} count {word}s, and “"
                f"{show_path(content.files[0])}” itself holds {size}. Which of them are the "
                f"{word}s cannot be told. Put the files of each into a folder of its own.",
                hint=f"Put the files of each {word} into a folder of its own.",
                path=show_path(content.files[0]),
            )
    return None


def refuse_many_channels(content: Content, family: Family) -> AmbiguousLayoutError | None:
    """Return an error if the names count more channels than a microscope has."""
    for field in family.fields:
        count = len(set(field.values))
        if field.role is Role.C and count > MOST_CHANNELS and not content.is_forced:
            return AmbiguousLayoutError(
                f"“{field.word}” in the file names of {content.shown} takes {count} values: too "
                "many for channels, which would be a layer each. If it counts slices, set "
                f'`layout = "{SEQUENCE}"`; if it does count channels, `layout = "{NAMED_AXES}"`.',
                hint=f'Set `layout = "{SEQUENCE}"` or `layout = "{NAMED_AXES}"`.',
                word=field.word,
                channels=count,
            )
    return None


def refuse_tiles(content: Content, family: Family) -> UnknownLayoutError:
    """Return the error for names that count tiles."""
    words = [field.word for field in family.fields if field.role is Role.TILE]
    way_out = "rename the files" if len(family.fields) > 1 else f'set `layout = "{SEQUENCE}"`'
    hint = f"Stitch the tiles first; if the number counts slices, {way_out}."
    return UnknownLayoutError(
        f"The file names of {content.shown} (“{show_path(family.template)}”) count tiles "
        f"({', '.join(f'“{word}”' for word in words)}). Tiles are not stitched; taken for slices "
        f"they would give a wrong volume. {hint}",
        hint=hint,
        words=words,
    )


def refuse_mixed_sets(content: Content, strangers: list[str], sets: int) -> AmbiguousLayoutError:
    """Return the error for an OME-TIFF set beside other images, or beside another set."""
    if strangers:
        shown = show_path(strangers[0])
        return AmbiguousLayoutError(
            f"{content.shown} holds an OME-TIFF set and {len(strangers)} images beside it, such as "
            f"“{shown}”. Whether they belong together cannot be told. Move them apart, or set "
            f'`ignore = ["{shown}"]`.',
            hint=f'Move them apart, or set `ignore = ["{shown}"]`.',
            strangers=[show_path(path) for path in strangers[:20]],
        )
    return AmbiguousLayoutError(
        f"{content.shown} holds {sets} OME-TIFF sets. Put each into a folder of its own.",
        hint="Put each set into a folder of its own.",
        sets=sets,
    )


def refuse_incomplete_set(
    content: Content, first: ImageInfo, absent: int
) -> IncompleteAcquisitionError:
    """Return the error for an OME-TIFF set of which files are absent.

    The set itself says that more belongs to it: it waits for the rest, and no word of a person
    brings that, but `missing_slices = "black"` does without.
    """
    there = set(content.by_name)
    missing = [name for name in first.set_files if name not in there]
    shown = ", ".join(f"“{show_path(name)}”" for name in missing[:4])
    more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
    padding = ', or set `missing_slices = "black"`' if content.missing_slices == "park" else ""
    return IncompleteAcquisitionError(
        f"{absent} planes of the OME-TIFF set in {content.shown} are missing"
        f"{f': no {shown}{more}' if missing else ''}. OME-XML names {len(first.set_files)} files. "
        f"Copy the missing files in{padding}.",
        hint=f"Copy the missing files of the OME-TIFF set in{padding}.",
        missing=[show_path(name) for name in missing[:100]],
        missing_count=absent,
    )


def show_extent(info: ImageInfo) -> str:
    """Return how many timepoints, channels and slices a file holds, for people."""
    counts = ((info.size_t, "timepoint"), (info.size_c, "channel"), (info.size_z, "slice"))
    shown = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in counts if n > 1 or word == "slice"]
    return f"{', '.join(shown)} of {info.size_x} x {info.size_y}"
