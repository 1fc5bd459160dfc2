"""How the service is doing at this moment, in words."""

from collections.abc import Iterator

from stackwatch.daemon.comparisons import Comparisons
from stackwatch.daemon.conversions import Conversions
from stackwatch.daemon.drain import Pending
from stackwatch.daemon.sides import Sides
from stackwatch.daemon.watching import Watching
from stackwatch.model.job import FolderState


def describe_service(watching: Watching, conversions: Conversions, refused: str = "") -> str:
    """Return the line for `systemctl status`.

    Parameters
    ----------
    refused : str
        What became of new settings that had mistakes; empty if there were none.
    """
    folders = watching.folders
    away = [folder.name for folder in folders if folder.state is FolderState.UNAVAILABLE]
    status = f"{len(folders)} folders, converting {len(conversions.running)}"
    if away:
        status += f", unavailable: {', '.join(away)}"
    if paused := sorted(conversions.paused):
        status += f", paused: {', '.join(paused)}"
    if conversions.guard.is_degraded:
        status += "; degraded: the ledger takes no writes"
    return f"{status}; {refused}" if refused else status


def iter_work(
    conversions: Conversions, comparisons: Comparisons, sides: Sides
) -> Iterator[Pending]:
    """Yield what is under way."""
    for running in conversions.running:
        yield Pending(running.job.folder, running.job.key, "converting")
    if not comparisons.is_idle:
        yield Pending("", "", "contents are compared with published ones")
    yield from sides.pending()


def find_hindrances(watching: Watching, conversions: Conversions) -> dict[str, str]:
    """Return the folders of which no job may start now, and why."""
    if conversions.guard.is_degraded:
        reason = conversions.guard.reason
        return {folder.name: reason for folder in watching.folders}
    return {name: pause.reason for name, pause in conversions.paused.items()}
