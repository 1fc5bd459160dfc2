"""Say why an acquisition is not converted yet, or not at all: sentences for people. Pure."""

import shlex
from collections.abc import Iterable
from typing import Any, Final

from stackwatch.errors import (
    AcquisitionError,
    IncompleteAcquisitionError,
    StackwatchError,
    StillArrivingError,
)
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import Sighting, Veto, VetoKind
from stackwatch.settings import FolderSettings
from stackwatch.watch.settle import BEYOND_A_PERSON

_WAYS_OUT: Final = {
    VetoKind.UNREADABLE: "Give the service the right to read it.",
    VetoKind.TEMPORARY: "Finish the transfer or remove what it left; `ignore` leaves such names "
    "out for good.",
    VetoKind.MARKER: "Have the transfer write the marker last, and with the right numbers.",
    VetoKind.ABORTED: "To have converted what is there:",
    VetoKind.COUNT: "Copy the missing files in, or mend `expected_files`.",
    VetoKind.OPEN: "Close the file in that program, or set `veto_open_files = false`.",
    VetoKind.STALE: "Look at the share: its sizes change from one look to the next.",
}
_MOVING: Final = "Look whether the instrument has finished, or raise `incomplete_after_h`."


def name_reasons(vetoes: Iterable[Veto]) -> str:
    """Return what speaks against an acquisition's being complete, in one line."""
    return "; ".join(veto.reason for veto in vetoes) or "its files keep changing"


def why_incomplete(
    settings: FolderSettings, sighting: Sighting, vetoes: tuple[Veto, ...]
) -> StackwatchError:
    """Return why an acquisition has been reported as incomplete, and what to do."""
    shown, hint = f"“{show_path(sighting.name)}”", _hint(sighting, vetoes)
    if any(veto.kind is VetoKind.ABORTED for veto in vetoes):
        return IncompleteAcquisitionError(
            f"{shown} was aborted: {name_reasons(vetoes)}. Nothing is converted. {hint}",
            hint=hint,
            aborted=True,
            **_values(sighting, vetoes),
        )
    return StillArrivingError(
        f"{shown} has not settled within {settings.incomplete_after_h:g} h: "
        f"{name_reasons(vetoes)}. Nothing is converted; it is watched on. {hint}",
        hint=hint,
        **_values(sighting, vetoes),
    )


def why_settling(
    _settings: FolderSettings, sighting: Sighting, vetoes: tuple[Veto, ...]
) -> StackwatchError | None:
    """Return what holds a settling acquisition back, None if nothing does."""
    if not vetoes:
        return None
    hint = _hint(sighting, vetoes)
    return StillArrivingError(
        f"“{show_path(sighting.name)}” is not ready: {name_reasons(vetoes)}. {hint}",
        hint=hint,
        **_values(sighting, vetoes),
    )


def why_skipped(sighting: Sighting) -> StackwatchError:
    """Return why an acquisition is ignored by its own sidecar."""
    hint = "Take `skip` out of its sidecar to have it converted."
    return AcquisitionError(
        f"The sidecar of “{show_path(sighting.name)}” says `skip = true`. {hint}", hint=hint
    )


def list_awaited(settings: FolderSettings) -> list[str]:
    """Return what a folder's acquisitions have to show, beside a quiet gap."""
    awaited = []
    if settings.marker is not None:
        awaited.append(f"a marker `{settings.marker}`, inside or beside a loose file")
    if settings.expected_files is not None:
        awaited.append(f"{settings.expected_files} files")
    return awaited


def list_unseen(settings: FolderSettings, *, is_remote: bool, is_root: bool) -> list[str]:
    """Return what cannot be known of a folder's acquisitions: no news of it is no good news."""
    unseen = []
    if settings.veto_open_files and not is_root:
        unseen.append("files that programs of other users have open")
    if is_remote:
        unseen.append("files that other machines have open")
    return unseen


def _hint(sighting: Sighting, vetoes: tuple[Veto, ...]) -> str:
    firm = [veto for veto in vetoes if not veto.is_lapsing]
    if not firm:
        return _MOVING
    way_out = _WAYS_OUT[firm[0].kind]
    # what a transfer left is refused by the conversion too
    if any(veto.kind in {*BEYOND_A_PERSON, VetoKind.TEMPORARY} for veto in firm):
        return way_out
    accept = f"`stackwatch jobs accept {shlex.quote(show_path(sighting.name))}`"
    if firm[0].kind is VetoKind.ABORTED:
        return f"{way_out} {accept}."
    return f"{way_out} If it is complete as it is: {accept}."


def _values(sighting: Sighting, vetoes: tuple[Veto, ...]) -> dict[str, Any]:
    """Return the facts of the case; reconciling reads the kinds back from the ledger."""
    return {
        "files": sighting.files,
        "vetoes": [veto.reason for veto in vetoes],
        "veto_kinds": sorted({str(veto.kind) for veto in vetoes}),
    }
