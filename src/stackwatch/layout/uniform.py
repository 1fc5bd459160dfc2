"""Make sure that the slices of a stack are alike, and name the first that is not."""

import glob
from collections import Counter
from collections.abc import Iterable, Mapping

from stackwatch.errors import MixedSlicesError
from stackwatch.layout.drafts import Probe
from stackwatch.model.acquisition import Listing, show_path
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.model.plan import StackPlan

_Format = tuple[int, int, PixelFormat, int, int, bool]


def find_mixed(shown: str, infos: Mapping[str, ImageInfo]) -> MixedSlicesError | None:
    """Compare the files of one stack.

    Parameters
    ----------
    shown : str
        The stack, for the message.
    infos : mapping of path to ImageInfo
        In the order of the slices.

    Returns
    -------
    MixedSlicesError or None
        Names the first file that differs from the majority.
    """
    formats = {path: _format_of(info) for path, info in infos.items()}
    counts = Counter(formats.values())
    if len(counts) < 2:
        return None
    majority = max(counts, key=lambda one: counts[one])
    differing = [path for path, one in formats.items() if one != majority]
    first = differing[0]
    patterns = ", ".join(f'"{glob.escape(show_path(path))}"' for path in differing[:5])
    hint = (
        f"Replace the files that differ, or, if they are strays, set `ignore = [{patterns}]`."
        if len(differing) <= 5
        else "Put each kind into a folder of its own, or convert the images to one kind."
    )
    return MixedSlicesError(
        f"The slices of {shown} differ: “{show_path(first)}” is {_show(formats[first])}, but "
        f"{counts[majority]} of {len(formats)} files are {_show(majority)}. Cut or cast to fit, "
        f"they would be silently wrong. {hint}",
        hint=hint,
        path=show_path(first),
        found=_show(formats[first]),
        expected=_show(majority),
        majority=counts[majority],
        compared=len(formats),
        differing=[show_path(path) for path in differing[:100]],
    )


def explain_mixed(listing: Listing, stack: StackPlan, probe: Probe) -> MixedSlicesError | None:
    """Look at every file of a stack, after one slice turned out to differ.

    Parameters
    ----------
    listing : Listing
        The acquisition, for the message.
    stack : StackPlan
    probe : Probe

    Returns
    -------
    MixedSlicesError or None
        None if the headers of all files agree: then the slice changed while it was read.

    Cost
    ----
    Opens every file of the stack.
    """
    names = ", ".join(f"“{layer.name}”" for layer in stack.layers)
    shown = f"layer {names} of “{show_path(listing.root)}”"
    return find_mixed(shown, _probe_all(stack.files, probe))


def _probe_all(files: Iterable[str], probe: Probe) -> dict[str, ImageInfo]:
    return {path: probe(path) for path in files}


def _format_of(info: ImageInfo) -> _Format:
    return (
        info.size_x, info.size_y, info.pixels, info.size_c, info.size_t, info.size_z > 1
    )  # fmt: skip


def _show(one: _Format) -> str:
    size_x, size_y, pixels, size_c, size_t, is_deep = one
    words = [f"{size_x} x {size_y}", pixels.dtype_name, pixels.kind]
    if pixels.has_alpha:
        words.append("with alpha")
    if pixels.is_inverted:
        words.append("inverted")
    if pixels.orientation != 1:
        words.append(f"rotated (EXIF {pixels.orientation})")
    if pixels.scale_words:
        words.append(pixels.scale_words)
    if size_c > 1:
        words.append(f"of {size_c} channels")
    if size_t > 1:
        words.append(f"of {size_t} timepoints")
    if is_deep:
        words.append("of several slices")
    return " ".join(words)
