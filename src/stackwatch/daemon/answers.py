"""What the daemon answers on its control socket."""

import os
from collections.abc import Callable
from typing import Any

from stackwatch import __version__
from stackwatch.clock import Clock
from stackwatch.daemon.attempts import Running
from stackwatch.daemon.control import unknown_command
from stackwatch.daemon.conversions import Conversions
from stackwatch.daemon.deliveries import Deliveries
from stackwatch.daemon.history import History
from stackwatch.daemon.inquiries import Inquiries
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
        deliveries: Deliveries,
    ) -> None:
        self._ledger = ledger
        self._history = history
        self._watching = watching
        self._conversions = conversions
        self._clock = clock
        self._stop = stop
        self._deliveries = deliveries
        self._inquiries = Inquiries(ledger, watching, clock)

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
                answer = self._inquiries.answer(command)
                pause = self._conversions.paused.get(answer["folder"])
                return {**answer, "paused": pause.reason if pause is not None else None}
            case "accept" | "forget":
                return self._inquiries.answer(command)
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
            "degraded": self._conversions.guard.reason or None,
            "folders": [folder.as_record() for folder in self._history.list_folders()],
            "paused": {name: one.as_record() for name, one in self._conversions.paused.items()},
            "jobs": self._history.count_jobs(),
            "converting": [describe_running(running) for running in self._conversions.running],
            "deliveries": {
                "counts": self._history.count_deliveries(),
                **self._deliveries.describe(),
            },
        }

    def _retry(self, command: dict[str, Any]) -> dict[str, Any]:
        if isinstance(command.get("delivery"), int):
            return self._redeliver(command["delivery"])
        number = command.get("job")
        if not isinstance(number, int):
            raise UsageError("Say which job: `stackwatch jobs retry NUMBER`.")
        job = self._ledger.jobs.retry(JobId(number))
        logger(job_id=job.job_id).info(Event.CONTROL_ANSWERED, reason="retry asked for")
        return {"status": str(job.state), "job": job.as_record()}

    def _redeliver(self, number: int) -> dict[str, Any]:
        delivery = self._deliveries.retry(number)
        bound = {"job_id": delivery.job_id, "delivery_id": number}
        logger(**bound).info(Event.CONTROL_ANSWERED, reason="retry of the delivery asked for")
        return {"status": str(delivery.state), "delivery": delivery.as_record()}

    def _rescan(self, command: dict[str, Any]) -> dict[str, Any]:
        name = str(command.get("folder", ""))
        if not self._watching.rescan(name):
            known = ", ".join(folder.name for folder in self._watching.folders) or "none"
            hint = f"Configured folders: {known}."
            raise UsageError(f"No folder is called “{name}”. {hint}", hint=hint, folder=name)
        return {"status": "scanning", "folder": name}


def describe_running(running: Running) -> dict[str, Any]:
    """Return a running conversion as `status` tells of it."""
    worker = running.worker
    return {
        "job_id": running.job.job_id,
        "attempt": running.job.attempt,
        "folder": running.job.folder,
        "acquisition": show_path(running.job.key),
        "pid": worker.pid if worker is not None else None,
        "progress": worker.progress if worker is not None else None,
    }
