"""Folders as instruments' programs write them: each recogniser looks for its own metadata.

To add one, write a function from `Folder` to the datasets it sees and add it to `INSTRUMENTS`;
`docs/layouts.md` has a paragraph for each.
"""

import re
from collections.abc import Iterable
from typing import Final

from stackwatch.errors import AmbiguousLayoutError, UnknownLayoutError
from stackwatch.layout import leica_xlef, micro_manager, sbemimage, serialem
from stackwatch.layout.companions import is_companion
from stackwatch.layout.scene_drafts import Folder, Recogniser, SceneDraft

INSTRUMENTS: Final[dict[str, Recogniser]] = {
    micro_manager.MICRO_MANAGER: micro_manager.recognise,
    sbemimage.SBEMIMAGE: sbemimage.recognise,
    serialem.SERIALEM: serialem.recognise,
    leica_xlef.LEICA_XLEF: leica_xlef.recognise,
}
"""By the name of the layout; the order decides nothing."""

_TEXTS: Final = re.compile(
    r"(.*/)?(([^/]*_)?metadata\.txt|[^/]*\.(idoc|xlef|xlif|xlcf)"
    r"|meta/logs/(imagelist|metadata|config)_\d+\.txt)",
    re.IGNORECASE,
)


def recognise_instrument(folder: Folder) -> tuple[SceneDraft, ...]:
    """Return the datasets of an acquisition with metadata of its instrument; none if it has none.

    Raises
    ------
    AmbiguousLayoutError
        It has that of several; the caller parks.
    UnknownLayoutError
        The `layout` setting names an instrument of which there is nothing.
    StackwatchError
        It is an instrument's and is not whole, or not clear.
    """
    wanted = folder.options.layout
    if wanted in INSTRUMENTS:
        found = INSTRUMENTS[wanted](folder)
        if not found:
            hint = 'Choose another `layout`, or leave it at "auto".'
            raise UnknownLayoutError(
                f'`layout = "{wanted}"` does not fit {folder.shown}: the metadata of such an '
                f"acquisition is not there. {hint}",
                hint=hint,
                layout=wanted,
            )
        return found
    if wanted != "auto":
        return ()
    claims = {name: scenes for name, one in INSTRUMENTS.items() if (scenes := one(folder))}
    if len(claims) > 1:
        settings = " or ".join(f'`layout = "{name}"`' for name in claims)
        raise AmbiguousLayoutError(
            f"{folder.shown} has the metadata of several instruments. Say which counts with "
            f"{settings}, or move them apart.",
            hint=f"Say which counts with {settings}.",
            layouts=list(claims),
        )
    return next(iter(claims.values()), ())


def texts_that_count(paths: Iterable[str]) -> set[str]:
    """Return those paths whose texts may decide on a dataset: a change of them is a change of it.

    Examples
    --------
    >>> sorted(texts_that_count(["Pos0/metadata.txt", "notes.txt", "a.mrc", "a.mrc.mdoc"]))
    ['Pos0/metadata.txt', 'a.mrc.mdoc']
    """
    every = set(paths)
    return {path for path in every if _TEXTS.fullmatch(path) or is_companion(path, every)}
