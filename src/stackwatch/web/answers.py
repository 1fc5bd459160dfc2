"""What programs ask: health, metrics, and the documents of the command line below `/api/`."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.responses import Response

from stackwatch.errors import StackwatchError, UsageError
from stackwatch.ledger.documents import build_deliveries, build_job, build_jobs, build_status
from stackwatch.ledger.explaining import WATCH_KEYS, explain, find_acquisition
from stackwatch.model.delivery import DeliveryState
from stackwatch.model.job import JobState
from stackwatch.model.wording import EVENTS_SHOWN
from stackwatch.web.site import document, error_document, is_number

if TYPE_CHECKING:
    from starlette.requests import Request

    from stackwatch.web.live import Ask
    from stackwatch.web.site import Site

_JSON: Final = "application/json"
LIMIT: Final = 50
LIMIT_MAX: Final = 1000
S = TypeVar("S", JobState, DeliveryState)


def answer_health(site: "Site") -> Response:
    """Return 200 while every part of the service is alive and the ledger takes writes, else 503."""
    parts, snapshot = site.service.list_parts(), site.service.snapshot
    is_well = all(part.is_alive for part in parts) and not snapshot.degraded
    record = {
        "status": "ok" if is_well else "failing",
        "is_stopping": snapshot.is_stopping,
        "degraded": snapshot.degraded or None,
        "parts": {
            part.name: {"is_alive": part.is_alive, "silent_s": round(part.silent_s, 1)}
            for part in parts
        },
    }
    return _json(record, 200 if is_well else 503)


def answer_metrics(site: "Site") -> Response:
    """Return the metrics."""
    text, kind = site.metrics.render()
    return Response(text, headers={"content-type": kind})


def answer_status(site: "Site") -> Response:
    """Return the document of `stackwatch status`."""
    return _json(build_status(site.browser, site.service.snapshot.as_live()))


def answer_jobs(site: "Site", query: Mapping[str, str]) -> Response:
    """Return the document of `stackwatch jobs list`."""
    try:
        state, limit = _read_state(query, JobState), _read_limit(query)
    except UsageError as error:
        return refuse(error)
    return _json(build_jobs(site.browser, state, query.get("folder") or None, limit))


def answer_deliveries(site: "Site", query: Mapping[str, str]) -> Response:
    """Return the document of `stackwatch deliveries list`."""
    try:
        state, limit = _read_state(query, DeliveryState), _read_limit(query)
    except UsageError as error:
        return refuse(error)
    return _json(build_deliveries(site.browser, state, query.get("folder") or None, limit))


def answer_job(site: "Site", job_id: int, query: Mapping[str, str]) -> Response:
    """Return the document of `stackwatch jobs show`."""
    try:
        record = build_job(site.browser, job_id, _read_limit(query, EVENTS_SHOWN))
    except UsageError as error:
        return refuse(error)
    if record is None:
        return refuse(UsageError(f"There is no job {job_id}.", job=job_id), 404)
    return _json(record)


async def answer_explain(site: "Site", request: "Request") -> Response:
    """Return the document of `stackwatch jobs explain`."""
    query = request.query_params
    what = query.get("what", "")
    try:
        limit = _read_limit(query, EVENTS_SHOWN)
    except UsageError as error:
        return refuse(error)
    try:
        found = find_acquisition(site.browser, what)
    except UsageError as error:
        return refuse(error, 404)
    place = site.browser.find_acquisition(found.acquisition_id)
    assert place is not None  # it was found right now
    command = {"command": "explain", "path": str(place.path)}
    live = await site.aside.run(lambda: _ask_watcher(site.service.ask, command))
    return _json(explain(site.browser, found, live, limit))


def _ask_watcher(ask: "Ask", command: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the watcher knows, None if it knows nothing of it."""
    try:
        answer = ask(command)
    except StackwatchError:
        return None
    if answer.get("acquisition") is None:
        return None
    return {key: answer.get(key) for key in WATCH_KEYS}


def refuse(error: StackwatchError, status: int = 400) -> Response:
    """Return an error as its document."""
    return _send(error_document(error), status)


def _json(record: Mapping[str, Any], status: int = 200) -> Response:
    return _send(document(record), status)


def _send(record: Mapping[str, Any], status: int) -> Response:
    """Return a document as pure ASCII: names that are no UTF-8 may stand in foreign messages."""
    return Response(json.dumps(record, separators=(",", ":")), status, media_type=_JSON)


def _read_state(query: Mapping[str, str], kind: type[S]) -> S | None:
    """Return the state that is asked for, None for any."""
    state = query.get("state", "")
    if state and state not in set(kind):
        hint = f"One of {', '.join(kind)}."
        raise UsageError(f"There is no state “{state}”. {hint}", hint=hint)
    return kind(state) if state else None


def _read_limit(query: Mapping[str, str], usual: int = LIMIT) -> int:
    limit = query.get("limit", str(usual))
    if not is_number(limit) or not 1 <= int(limit) <= LIMIT_MAX:
        hint = f"Give a `limit` from 1 to {LIMIT_MAX}."
        raise UsageError(f"“{limit}” is no number of rows. {hint}", hint=hint)
    return int(limit)
