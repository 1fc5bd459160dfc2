"""Look for what speaks against an acquisition being complete, beyond what a listing shows.

Runs in the scan process, on acquisitions that are looked at by name: shortly before they would
settle, and before and after a conversion. Imports the standard library, `model`, `layout.ignore`
and `layout.sidecar` only.
"""

from dataclasses import dataclass, field

from stackwatch.model.facts import Directives, Veto
from stackwatch.watch.marks import FileFacts


@dataclass(frozen=True, slots=True)
class ReadinessOptions:
    """What an acquisition has to show, beside a quiet gap, to count as complete.

    Attributes
    ----------
    marker : str
        Pattern of the marker's name; empty: none is waited for.
    expected_files : int or None
    veto_open_files : bool
        Whether files that are open for writing hold it back.
    """

    marker: str = ""
    expected_files: int | None = None
    veto_open_files: bool = True


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe found.

    Attributes
    ----------
    vetoes : tuple of Veto
    directives : Directives
        Of the sidecar.
    """

    vetoes: tuple[Veto, ...] = ()
    directives: Directives = field(default_factory=Directives)


def probe_acquisition(
    folder: str,
    facts: list[FileFacts],
    options: ReadinessOptions,
    *,
    is_remote: bool,
    temporary: tuple[str, ...] = (),
) -> Probed:
    """Return what speaks against an acquisition being complete.

    Parameters
    ----------
    folder : str
        Absolute path of the acquisition's folder; for loose files of the folder that holds them.
    facts : list of FileFacts
        All its files that no pattern ignores, paths relative to `folder`.
    options : ReadinessOptions
    is_remote : bool
        Whether it lies on a network mount.
    temporary : tuple of str
        Names of unfinished transfers that were ignored in it (`a.tif.part`, `.a.tif.Ab12Cd`),
        paths relative to `folder`, those of folders with `/` at the end; at most a hundred.

    Raises
    ------
    OSError
        The share failed; the scan takes the folder for unavailable.
    """
    return Probed()
