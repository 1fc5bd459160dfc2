"""What recognisers of instruments' folders read and say: texts, and a verdict for each dataset."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from stackwatch.errors import (
    AmbiguousLayoutError,
    IncompleteAcquisitionError,
    MixedSlicesError,
    StackwatchError,
)
from stackwatch.layout.assembly import MOST_PADDING
from stackwatch.layout.drafts import NO_CHANNEL, Probe, StackDraft, Verdict, spread_sample
from stackwatch.layout.refusals import show_extent
from stackwatch.layout.survey import survey_listing
from stackwatch.model.acquisition import Listing, show_path
from stackwatch.model.image import Channel
from stackwatch.model.options import LayoutOptions
from stackwatch.model.plan import BLACK, PlaneRef

Place = tuple[int, int, int]
"""Timepoint, channel, slice."""


class TextOf(Protocol):
    """Reads a text of the acquisition by its path, as `readers.texts.TextFiles` does."""

    def __call__(self, path: str, *, head: int = 0, tail: int = 0, is_content: bool = True) -> str:
        """Return it whole, or as many bytes of its beginning or end."""
        ...


@dataclass(frozen=True, slots=True)
class SceneDraft:
    """One dataset of an acquisition.

    Attributes
    ----------
    name : str
        What tells it from the others.
    decide : callable
        Returns the verdict on it; raises what parks it. Called for what is wanted only.
    """

    name: str
    decide: Callable[[], Verdict]


@dataclass(frozen=True, slots=True)
class Folder:
    """What a recogniser is shown.

    Attributes
    ----------
    listing : Listing
    text_of : TextOf
    probe : Probe
        Of the first image of a file.
    options : LayoutOptions
    """

    listing: Listing
    text_of: TextOf
    probe: Probe
    options: LayoutOptions

    @property
    def shown(self) -> str:
        """The acquisition, for messages."""
        return f"“{show_path(self.listing.root)}”"

    @property
    def words(self) -> tuple[str, ...]:
        """What its name may say of what it holds."""
        return (self.listing.root.name,) if self.listing.is_whole_folder else ()

    def ensure_arrived(self, images: Iterable[str]) -> tuple[str, ...]:
        """Make sure that these images are whole and none is still on its way; return warnings.

        Raises
        ------
        StillArrivingError, AcquisitionError, CorruptSliceError
            As `layout.survey.survey_listing` says.
        """
        wanted = set(images)
        kept = tuple(entry for entry in self.listing.entries if entry.path in wanted)
        return survey_listing(replace(self.listing, entries=kept), self.options.ignore).warnings

    def ensure_planar(self, files: Sequence[str]) -> None:
        """Make sure that files hold one plane each; each is compared again while it is read.

        Raises
        ------
        MixedSlicesError
            The caller parks.
        """
        for path in spread_sample(tuple(files)):
            info = self.probe(path)
            if (info.size_t, info.size_c, info.size_z) != (1, 1, 1):
                raise MixedSlicesError(
                    f"“{show_path(path)}” in {self.shown} holds {show_extent(info)} where its "
                    "instrument writes one plane. Replace it, or drop the files without the "
                    "instrument's metadata.",
                    hint="Replace it, or drop the files without the instrument's metadata.",
                    path=show_path(path),
                )


Recogniser = Callable[[Folder], tuple[SceneDraft, ...]]
"""Returns the datasets of an acquisition, none if it is not of its kind; raises what parks it."""


def stack_of(
    files: Sequence[str],
    refs: dict[Place, PlaneRef],
    size_tz: tuple[int, int],
    c: int,
    *,
    label: str = "",
    channel: Channel = NO_CHANNEL,
    words: tuple[str, ...] = (),
) -> StackDraft:
    """Return the stack of one channel: black where no plane is.

    Parameters
    ----------
    files : sequence of str
        What the references count.
    refs : dict of (t, c, z) to PlaneRef
    size_tz : (int, int)
    c : int
    label, channel, words
        As in `StackDraft`.
    """
    size_t, size_z = size_tz
    rows = [[refs.get((t, c, z), PlaneRef(BLACK)) for z in range(size_z)] for t in range(size_t)]
    used = sorted({ref.file for row in rows for ref in row} - {BLACK})
    number = {file: i for i, file in enumerate(used)} | {BLACK: BLACK}
    return StackDraft(
        files=tuple(files[file] for file in used),
        planes_tz=tuple(
            tuple(PlaneRef(number[ref.file], ref.t, ref.c, ref.z) for ref in row) for row in rows
        ),
        label=label,
        is_label_enough=bool(label),
        channel=channel,
        words=words,
    )


def check_absent(
    folder: Folder, what: str, refs: dict[Place, PlaneRef], size_tcz: Place
) -> tuple[str, ...]:
    """Say that planes are missing, or raise if they may not be black.

    Parameters
    ----------
    folder : Folder
    what : str
        Who announces the planes: “… announces”.
    refs : dict of (t, c, z) to PlaneRef
        Planes that are there.
    size_tcz : (int, int, int)

    Raises
    ------
    IncompleteAcquisitionError
        The caller parks: the acquisition waits for the rest.
    """
    size_t, size_c, size_z = size_tcz
    wanted = size_t * size_c * size_z
    absent = wanted - len(refs)
    if absent <= 0:
        return ()
    has_all_channels = {c for _, c, _ in refs} == set(range(size_c))
    if (
        folder.options.missing_slices == "black"
        and has_all_channels
        and absent <= MOST_PADDING * len(refs)
    ):
        return (f"{absent} missing slices become black (`missing_slices`)",)
    first = next(
        (t, c, z)
        for t in range(size_t)
        for c in range(size_c)
        for z in range(size_z)
        if (t, c, z) not in refs
    )
    hint = (
        "Wait for the rest, or copy it in; if the acquisition was ended early, set "
        '`missing_slices = "black"`.'
    )
    raise IncompleteAcquisitionError(
        f"{what} {size_t} timepoint{_s(size_t)}, {size_c} channel{_s(size_c)} and {size_z} "
        f"slice{_s(size_z)}, {wanted:,} planes; {len(refs):,} are there. The first that is missing "
        f"is timepoint {first[0]}, channel {first[1]}, slice {first[2]}. {hint}",
        hint=hint,
        missing_count=absent,
        planes_expected=wanted,
        first=list(first),
    )


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def refuse_others(folder: Folder, what: str, others: Sequence[str]) -> StackwatchError:
    """Return the error for images beside what an instrument's metadata names."""
    hint = f'Move them apart, or set `ignore = ["{show_path(others[0])}"]`.'
    return AmbiguousLayoutError(
        f"{folder.shown} holds {what} and {len(others)} images of which its metadata says nothing, "
        f"such as “{show_path(others[0])}”. {hint}",
        hint=hint,
        others=[show_path(path) for path in others[:20]],
    )
