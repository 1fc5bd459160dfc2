"""The documents that the command line prints with `--json` and the page serves below `/api/`.

They are built from the ledger alone; what only the running daemon knows is added by whoever can
ask it. docs/json.md names their keys.
"""

from collections.abc import Mapping
from typing import Any, Final

from stackwatch.ledger.explaining import list_reasons
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import DeliveryState
from stackwatch.model.disposal import DisposalState
from stackwatch.model.job import AcquisitionState, JobId, JobState
from stackwatch.model.wording import EVENTS_SHOWN

SHOWN: Final = 20
"""How many of each kind `status` names; the counts tell of all."""


def build_status(reader: LedgerReader, live: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the document of `stackwatch status`.

    Parameters
    ----------
    reader : LedgerReader
    live : mapping or None
        What the daemon answers to `status`; None if there is none, or it is busy. The ledger's own
        progress is up to a minute old.
    """
    daemon = reader.daemon()
    converting = [job.as_record() for job in reader.list_jobs(JobState.CLAIMED, limit=SHOWN)]
    record = {
        "status": "running" if live is not None or reader.is_daemon_alive() else "no daemon",
        "daemon": daemon.as_record() if daemon is not None else None,
        "folders": [folder.as_record() for folder in reader.list_folders()],
        "jobs": reader.count_jobs(),
        "converting": converting,
        "arriving": _list_arriving(reader),
        "waiting": [job.as_record() for job in reader.list_jobs(JobState.WAITING, limit=SHOWN)],
        "parked": _list_parked(reader),
        "disposals": _list_disposals(reader),
        "deliveries": _survey_deliveries(reader),
        "paused": {},
        "degraded": None,
    }
    add_live(record, live or {})
    return record


def add_live(record: dict[str, Any], live: Mapping[str, Any]) -> None:
    """Add what only the daemon knows: progress of this moment, what is paused, what is wrong."""
    progress = {job["job_id"]: job["progress"] for job in live.get("converting", ())}
    for job in record["converting"]:
        job["progress"] = progress.get(job["job_id"]) or job["progress"]
    delivering = live.get("deliveries", {})
    record["deliveries"]["paused"] = delivering.get("paused")
    for one in record["deliveries"]["open"]:
        add_live_delivery(one, live)
    record["degraded"] = live.get("degraded")
    record["paused"] = live.get("paused", {})


def build_jobs(
    reader: LedgerReader,
    state: JobState | None = None,
    folder: str | None = None,
    limit: int = 50,
) -> dict[str, Any]:
    """Return the document of `stackwatch jobs list`."""
    superseded = reader.superseded_jobs()
    jobs = [
        {**job.as_record(), "is_superseded": job.job_id in superseded}
        for job in reader.list_jobs(state, folder, limit)
    ]
    return {"status": "ok", "jobs": jobs}


def build_job(
    reader: LedgerReader, job_id: int, limit: int = EVENTS_SHOWN
) -> dict[str, Any] | None:
    """Return the document of `stackwatch jobs show`, None if there is no such job.

    Of its history there are the last `limit` lines, and how many there are in all.
    """
    details = reader.show_job(JobId(job_id), limit)
    if details is None:
        return None
    return {
        "status": "ok",
        "job": details.job.as_record(),
        "datasets": details.dataset_records(),
        "events": [event.as_record() for event in details.events],
        "event_count": reader.count_events(job_id=job_id),
        "disposal": details.disposal.as_record() if details.disposal is not None else None,
        "deliveries": [delivery.as_record() for delivery in details.deliveries],
    }


def build_deliveries(
    reader: LedgerReader,
    state: DeliveryState | None = None,
    folder: str | None = None,
    limit: int = 50,
) -> dict[str, Any]:
    """Return the document of `stackwatch deliveries list`."""
    found = reader.list_deliveries(state, folder, limit)
    return {"status": "ok", "deliveries": [delivery.as_record() for delivery in found]}


def build_delivery(reader: LedgerReader, delivery_id: int) -> dict[str, Any] | None:
    """Return the document of `stackwatch deliveries show`, None if there is no such delivery."""
    found = reader.find_delivery(delivery_id)
    details = reader.show_job(found.job_id) if found is not None else None
    if found is None or details is None:
        return None
    events = [one for one in details.events if one.facts.get("delivery_id") == delivery_id]
    return {
        "status": "ok",
        "delivery": found.as_record(),
        "events": [event.as_record() for event in events],
    }


def add_live_delivery(record: dict[str, Any], live: Mapping[str, Any]) -> None:
    """Add how far a delivery is at this moment, to what the ledger tells of it."""
    for running in live.get("deliveries", {}).get("running", ()):
        if running["delivery_id"] == record["delivery_id"]:
            record["progress"] = running["progress"] or record["progress"]


def _list_arriving(reader: LedgerReader) -> list[dict[str, Any]]:
    """Return what has not settled, with what was last recorded to speak against it."""
    return [
        {**acquisition.as_record(), "not_ready": list_reasons(acquisition, None)}
        for state in (AcquisitionState.SETTLING, AcquisitionState.INCOMPLETE)
        for acquisition in reader.list_acquisitions(state=state, limit=SHOWN, with_gone=False)
    ]


def _list_disposals(reader: LedgerReader) -> list[dict[str, Any]]:
    """Return which sources are to be put away, and which could not be."""
    return [
        {"folder": one.folder, "acquisition": show_path(one.key), **one.as_record()}
        for state in (DisposalState.RUNNING, DisposalState.REFUSED, DisposalState.DUE)
        for one in reader.list_disposals(state)[:SHOWN]
    ]


def _survey_deliveries(reader: LedgerReader) -> dict[str, Any]:
    """Return how many deliveries are in each state, and those that are under way or stuck."""
    named = (DeliveryState.RUNNING, DeliveryState.PARKED, DeliveryState.PAUSED)
    found = [one for state in named for one in reader.list_deliveries(state, limit=SHOWN)]
    return {
        "counts": reader.count_deliveries(),
        "open": [one.as_record() for one in found if not one.is_superseded],
        "paused": None,
    }


def _list_parked(reader: LedgerReader) -> list[dict[str, Any]]:
    """Return what waits for a human: the reason is the job's, where there is one."""
    jobs = {job.acquisition_id: job.as_record() for job in reader.list_jobs(JobState.PARKED)}
    records = []
    parked = AcquisitionState.PARKED
    for acquisition in reader.list_acquisitions(state=parked, limit=SHOWN, with_gone=False):
        record = acquisition.as_record()
        job = jobs.get(acquisition.acquisition_id, {})
        if record["error_code"] is None:
            record |= {key: job.get(key) for key in ("error_code", "message", "hint")}
        records.append({**record, "job_id": job.get("job_id")})
    return records
