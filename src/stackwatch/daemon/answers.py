"""What the daemon answers on its control socket."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stackwatch import __version__
from stackwatch.clock import Clock
from stackwatch.daemon.control import unknown_command
from stackwatch.daemon.conversions import Conversions, Running
from stackwatch.daemon.folders import WatchedFolder
from stackwatch.daemon.history import History
from stackwatch.daemon.watching import Watching
from stackwatch.errors import UsageError
from stackwatch.ledger.ledger import Ledger
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import JobId


class Answers:
    """Turns commands into deeds and answers. Used by the main thread alone.

    Parameters
    ----------
    stop : callable
        The service's own deed.
    """

    def __init__(
        self,
        ledger: Ledger,
        history: History,
        watching: Watching,
        conversions: Conversions,
        clock: Clock,
        stop: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._history = history
        self._watching = watching
        self._conversions = conversions
        self._clock = clock
        self._stop = stop

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command and return its answer as JSON values.

        Raises
        ------
        StackwatchError
            The command is unknown, or cannot be carried out.
        """
        match command.get("command"):
            case "status":
                return self._status()
            case "retry":
                return self._retry(command)
            case "rescan":
                return self._rescan(command)
            case "explain":
                return self._explain(command)
            case "stop":
                self._stop()
                return {"status": "stopping"}
            case _:
                raise unknown_command(command)

    def _status(self) -> dict[str, Any]:
        return {
            "status": "running",
            "pid": os.getpid(),
            "version": __version__,
            "is_up": self._watching.is_up,
            "folders": [folder.as_record() for folder in self._history.list_folders()],
            "jobs": self._history.count_jobs(),
            "converting": [_describe(running) for running in self._conversions.running],
        }

    def _retry(self, command: dict[str, Any]) -> dict[str, Any]:
        number = command.get("job")
        if not isinstance(number, int):
            raise UsageError("Say which job: `stackwatch jobs retry NUMBER`.")
        job = self._ledger.jobs.retry(JobId(number))
        logger(job_id=job.job_id).info(Event.CONTROL_ANSWERED, reason="retry asked for")
        return {"status": str(job.state), "job": job.as_record()}

    def _rescan(self, command: dict[str, Any]) -> dict[str, Any]:
        name = str(command.get("folder", ""))
        if not self._watching.rescan(name):
            known = ", ".join(folder.name for folder in self._watching.folders) or "none"
            hint = f"Configured folders: {known}."
            raise UsageError(f"No folder is called “{name}”. {hint}", hint=hint, folder=name)
        return {"status": "scanning", "folder": name}

    def _explain(self, command: dict[str, Any]) -> dict[str, Any]:
        """Tell what the watcher knows of a path at this moment; the ledger knows the rest."""
        path = Path(str(command.get("path", "")))
        for folder in self._watching.folders:
            if path.is_relative_to(folder.settings.path):
                return self._explain_in(folder, path.relative_to(folder.settings.path))
        hint = "Give the path of something in a drop folder."
        raise UsageError(
            f"“{show_path(path)}” lies in no drop folder. {hint}", hint=hint, path=show_path(path)
        )

    def _explain_in(self, folder: WatchedFolder, inside: Path) -> dict[str, Any]:
        now_s = self._clock.monotonic()
        names = [str(inside), *map(str, inside.parents)]
        found = next((key for key in names if key in folder.view.states), None)
        answer: dict[str, Any] = {
            "folder": folder.name,
            "folder_state": str(folder.state),
            "reason": show_path(folder.view.unavailable),
            "quiet_gap_s": folder.quiet_gap_s,
            "next_look_s": round(max(0.0, folder.next_look().at_s - now_s), 3),
            "acquisition": show_path(found) if found is not None else None,
        }
        if found is None:
            return answer
        state = folder.view.states[found]
        fact = self._ledger.folders.facts(folder.name).get(found)
        return {
            **answer,
            "phase": str(state.phase),
            "quiet_s": round(now_s - state.quiet_since_s, 3),
            "vetoes": list(state.vetoes),
            "state": str(fact.state) if fact is not None else None,
            "generation": fact.generation if fact is not None else 0,
        }


def _describe(running: Running) -> dict[str, Any]:
    worker = running.worker
    return {
        "job_id": running.job.job_id,
        "attempt": running.job.attempt,
        "folder": running.job.folder,
        "acquisition": show_path(running.job.key),
        "pid": worker.pid if worker is not None else None,
        "progress": worker.progress if worker is not None else None,
    }
