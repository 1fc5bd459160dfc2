"""The two refusals every parser of a header needs: damaged, and known but not read."""

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path


def damaged_header(name: str, why: str) -> CorruptSliceError:
    """Return the error for a header that cannot be right; `why` is a clause with its values."""
    return CorruptSliceError(
        f"The header of “{show_path(name)}” is damaged: {why}. Copy the file again.",
        hint="Copy the file again.",
        path=show_path(name),
    )


def unsupported(name: str, what: str, hint: str) -> UnsupportedFormatError:
    """Return the refusal of a file whose header is understood; `what` follows “it holds”."""
    return UnsupportedFormatError(
        f"“{show_path(name)}” holds {what}, which stackwatch does not read. {hint}",
        hint=hint,
        path=show_path(name),
        feature=what,
    )
