"""What the daemon answers about one acquisition: why it waits, and what a person decides of it."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackwatch.clock import Clock
from stackwatch.daemon.folders import WatchedFolder
from stackwatch.daemon.verdicts import list_awaited, list_unseen
from stackwatch.daemon.watching import Watching
from stackwatch.errors import UsageError
from stackwatch.ledger.ledger import Ledger
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.watch.settle import SettleOptions

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class Inquiries:
    """Commands about one acquisition, named by a path. Used by the main thread alone."""

    def __init__(self, ledger: Ledger, watching: Watching, clock: Clock) -> None:
        self._ledger = ledger
        self._watching = watching
        self._clock = clock

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out `explain`, `accept` or `forget`.

        Raises
        ------
        UsageError
            The path means nothing that is seen, or its state does not allow it.
        """
        deeds = {"explain": self._explain, "accept": self._accept, "forget": self._forget}
        return deeds[str(command["command"])](command)

    def _explain(self, command: dict[str, Any]) -> dict[str, Any]:
        """Tell what the watcher knows of a path at this moment; the ledger knows the rest."""
        folder, key = self._find(command)
        now_s = self._clock.monotonic()
        answer: dict[str, Any] = {
            "folder": folder.name,
            "folder_state": str(folder.state),
            "reason": show_path(folder.view.unavailable),
            "quiet_gap_s": folder.quiet_gap_s,
            "next_look_s": round(max(0.0, folder.next_look().at_s - now_s), 3),
            "acquisition": show_path(key) if key is not None else None,
        }
        if key is None:
            return answer
        state = folder.view.states[key]
        seen = folder.refused.get(key)
        fact = self._ledger.folders.facts(folder.name).get(key)
        options = SettleOptions(folder.quiet_gap_s, folder.settings.incomplete_after_h)
        is_held_back = state.is_held_back
        return {
            **answer,
            "phase": str(state.phase),
            "quiet_s": round(now_s - state.quiet_since_s, 3),
            "ready_s": None if is_held_back else round(state.ready_s(options) - now_s, 3),
            "vetoes": [veto.reason for veto in state.vetoes],
            "veto_kinds": [str(veto.kind) for veto in state.vetoes],
            "awaited": list_awaited(folder.settings),
            "unseen": list_unseen(
                folder.settings, is_remote=folder.is_remote, is_root=os.geteuid() == 0
            ),
            "refused": seen.refused if seen is not None else 0,
            "refusals": [
                f"{show_path(refusal.path)}: {refusal.reason}"
                for refusal in (seen.refusals if seen is not None else ())
            ],
            "is_accepted": fact is not None and fact.accepted_mark == state.stat_mark,
            "state": str(fact.state) if fact is not None else None,
            "generation": fact.generation if fact is not None else 0,
        }

    def _accept(self, command: dict[str, Any]) -> dict[str, Any]:
        """Take an arriving acquisition for complete, as it is at this moment."""
        folder, key, mark = self._seen(command)
        self._ledger.verdicts.accept(folder.name, key, mark)
        _log(folder, key).info(Event.ACQUISITION_ACCEPTED, reason="asked for")
        # a veto that is overruled is noticed by a look
        self._watching.look_at(folder.name, key, lambda looked: None)
        return {"status": "accepted", "folder": folder.name, "acquisition": show_path(key)}

    def _forget(self, command: dict[str, Any]) -> dict[str, Any]:
        """Ignore an acquisition until its content changes."""
        folder, key, mark = self._seen(command)
        ended = self._ledger.verdicts.forget(folder.name, key, mark)
        _log(folder, key).info(Event.ACQUISITION_FORGOTTEN, reason="asked for")
        return {
            "status": "ignored",
            "folder": folder.name,
            "acquisition": show_path(key),
            "ended_jobs": ended,
        }

    def _seen(self, command: dict[str, Any]) -> tuple[WatchedFolder, str, str]:
        """Return an acquisition that the watcher sees, and its mark."""
        folder, key = self._find(command)
        if key is None:
            path = show_path(str(command.get("path", "")))
            hint = "`stackwatch status` shows the drop folders; what is ignored is not seen."
            raise UsageError(f"Nothing is seen at “{path}”. {hint}", hint=hint, path=path)
        return folder, key, folder.view.states[key].stat_mark

    def _find(self, command: dict[str, Any]) -> tuple[WatchedFolder, str | None]:
        path = Path(str(command.get("path", "")))
        for folder in self._watching.folders:
            if path.is_relative_to(folder.settings.path):
                inside = path.relative_to(folder.settings.path)
                return folder, _key_of(folder, inside)
        hint = "Give the path of something in a drop folder."
        raise UsageError(
            f"“{show_path(path)}” lies in no drop folder. {hint}", hint=hint, path=show_path(path)
        )


def _log(folder: WatchedFolder, key: str) -> "FilteringBoundLogger":
    return logger(folder=folder.name, acquisition=show_path(key))


def _key_of(folder: WatchedFolder, inside: Path) -> str | None:
    """Return the acquisition that a path means: itself, what holds it, or the group it is of."""
    names = [str(inside), *map(str, inside.parents)]
    found = next((name for name in names if name in folder.view.states), None)
    if found is not None:
        return found
    for key in folder.view.states:
        if "#" in key and re.fullmatch(re.escape(key).replace(r"\#", r"[0-9]+"), str(inside)):
            return key
    return None
