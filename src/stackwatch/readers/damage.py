"""The refusals every parser of a header needs: damaged, known but not read, not there."""

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path


def damaged_header(name: str, why: str) -> CorruptSliceError:
    """Return the error for a header that cannot be right; `why` is a clause with its values."""
    return CorruptSliceError(
        f"The header of “{show_path(name)}” is damaged: {why}. Copy the file again.",
        hint="Copy the file again.",
        path=show_path(name),
    )


def no_such_image(name: str, scene: int, count: int) -> UnsupportedFormatError:
    """Return the refusal of an index beyond the images of a file."""
    hint = "Name an image that is there in `scenes`."
    return UnsupportedFormatError(
        f"“{show_path(name)}” has no image {scene + 1}: it holds {count}. {hint}",
        hint=hint,
        path=show_path(name),
        images=count,
    )


def unsupported(name: str, what: str, hint: str) -> UnsupportedFormatError:
    """Return the refusal of a file whose header is understood; `what` follows “it holds”."""
    return UnsupportedFormatError(
        f"“{show_path(name)}” holds {what}, which stackwatch does not read. {hint}",
        hint=hint,
        path=show_path(name),
        feature=what,
    )
