"""Leica's XLEF: an index of images, each of which lies in a LOF file beside it.

Each LOF becomes a dataset; what the index names and is not there is missing.

Source: Leica's description of its image file formats, as liffile documents it: an `.xlef`, and the
`.xlcf` and `.xlif` it refers to, name files in `File` attributes, percent-encoded.
"""

import re
from functools import partial
from typing import Final
from urllib.parse import unquote

from stackwatch.errors import AmbiguousLayoutError, IncompleteAcquisitionError
from stackwatch.layout.assembly import channel_labels
from stackwatch.layout.drafts import LayerDraft, StackDraft, Verdict
from stackwatch.layout.kinds import FileKind, kind_of, split_suffix
from stackwatch.layout.names import natural_key
from stackwatch.layout.refusals import show_extent
from stackwatch.layout.scene_drafts import Folder, SceneDraft, refuse_others
from stackwatch.model.acquisition import show_path
from stackwatch.model.plan import PlaneRef

LEICA_XLEF: Final = "leica-xlef"
"""Name of this layout, as the `layout` setting takes it."""

_INDICES: Final = (".xlef", ".xlcf", ".xlif")
_LOF: Final = ".lof"
_NAMED: Final = re.compile(r'File\s*=\s*"([^"]*\.lof)"', re.IGNORECASE)


def recognise(folder: Folder) -> tuple[SceneDraft, ...]:
    """Return a dataset for each LOF that lies beside an XLEF; none if there is no XLEF or no LOF.

    Raises
    ------
    IncompleteAcquisitionError, AmbiguousLayoutError
        A LOF is missing, or other images are there; the caller parks.
    """
    paths = sorted((entry.path for entry in folder.listing.entries), key=natural_key)
    roots = [path for path in paths if path.lower().endswith(".xlef")]
    lofs = [path for path in paths if path.lower().endswith(_LOF)]
    if not roots or not lofs:
        return ()
    if len(roots) > 1:
        hint = "Put each of them into a folder of its own, with its files."
        raise AmbiguousLayoutError(
            f"{folder.shown} holds {len(roots)} XLEF files. {hint}", hint=hint
        )
    strays = [
        path
        for path in paths
        if kind_of(path) in {FileKind.IMAGE, FileKind.FOREIGN}
        and path not in lofs
        and not path.lower().endswith(_INDICES)
    ]
    if strays:
        raise refuse_others(folder, "a Leica project (XLEF)", strays)
    named = {
        unquote(name).replace("\\", "/").rpartition("/")[2].lower()
        for path in paths
        if path.lower().endswith(_INDICES)
        for name in _NAMED.findall(folder.text_of(path))
    }
    gone = sorted(named - {path.rpartition("/")[2].lower() for path in lofs})
    if gone:
        hint = "Copy the missing LOF files in."
        raise IncompleteAcquisitionError(
            f"“{show_path(roots[0])}” names {len(named)} images, {len(gone)} of them are not "
            f"there, such as “{show_path(gone[0])}”. {hint}",
            hint=hint,
            missing=[show_path(name) for name in gone[:100]],
            missing_count=len(gone),
        )
    warnings = folder.ensure_arrived(lofs)
    return tuple(
        SceneDraft(
            split_suffix(path.rpartition("/")[2])[0], partial(_verdict, folder, path, warnings)
        )
        for path in lofs
    )


def _verdict(folder: Folder, path: str, warnings: tuple[str, ...]) -> Verdict:
    info = folder.probe(path)
    stacks = [
        StackDraft(
            files=(path,),
            planes_tz=tuple(
                tuple(PlaneRef(0, t, c, z) for z in range(info.size_z)) for t in range(info.size_t)
            ),
            label=label,
            is_label_enough=bool(channel.name) and channel.name.strip() == label,
            channel=channel,
            words=folder.words,
        )
        for c, (label, channel) in enumerate(channel_labels(info))
    ]
    evidence = (f"“{show_path(path)}” of a Leica project: {show_extent(info)}",)
    return Verdict(LEICA_XLEF, evidence, tuple(map(LayerDraft, stacks)), warnings)
