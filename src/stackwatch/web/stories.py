"""The whole story of one job, or of one acquisition: what it is, what it made, what happened."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from stackwatch.ledger.browsing import AcquisitionRow
from stackwatch.ledger.explaining import say_why
from stackwatch.ledger.reader import JobDetails
from stackwatch.ledger.records import DatasetRecord, EventRecord, Job
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import DatasetState, JobId, JobState
from stackwatch.model.wording import (
    EVENTS_SHOWN,
    describe_disposal,
    describe_resuming,
    format_duration,
    format_time,
)
from stackwatch.web.actions import action_forms
from stackwatch.web.deliveries import delivery_rows
from stackwatch.web.markup import NOTHING, Markup, Piece, markup, tag
from stackwatch.web.overview import conversion_card, describe_arriving
from stackwatch.web.parts import (
    Page,
    Section,
    badge,
    error_box,
    facts,
    moment,
    plural,
    prose,
    size,
    table,
)
from stackwatch.web.view import View
from stackwatch.web.viewer import view_path

_LONG: Final = frozenset({"message", "hint", "reason", "values", "error_code"})
_SIZES: Final = frozenset({"total_bytes", "bytes_read", "bytes_written", "free_bytes"})
Record = Mapping[str, Any]


def build_job_page(view: View, job_id: int) -> Page | None:
    """Return the page `/jobs/N`, None if there is no such job."""
    details = view.browser.show_job(JobId(job_id), EVENTS_SHOWN)
    if details is None:
        return None
    job = details.job
    found = view.browser.find_acquisition(job.acquisition_id)
    assert found is not None  # a job's acquisition is never removed
    sections = (
        _summary(view, job, found),
        _running(view, job),
        _error(found, job),
        _acts(view, found, job),
        _datasets(view, details),
        _sent(view, job),
        _source(details),
        _warnings(job),
        _history(details.events, view.browser.count_events(job_id=job_id)),
        _siblings(view, job),
    )
    trail = (("History", "/history"),)
    return Page(f"{job.folder} / {show_path(job.name)}", sections, trail=trail)


def build_acquisition_page(view: View, acquisition_id: int) -> Page | None:
    """Return the page `/acquisitions/N`, None if there is no such acquisition."""
    found = view.browser.find_acquisition(acquisition_id)
    if found is None:
        return None
    record = found.acquisition.as_record()
    because = say_why(view.browser, found.acquisition, None)
    events = view.browser.list_events(acquisition_id=acquisition_id, limit=EVENTS_SHOWN)
    is_arriving = record["state"] in ("settling", "incomplete")
    why = describe_arriving(view, record) if is_arriving else ""
    pairs = _acquisition_facts(view, found, record)
    sections = (
        Section(
            "summary",
            "",
            markup(
                tag("p", badge(record["state"]), " ", prose(because), class_="lead"),
                tag("p", tag("b", "Now: "), why) if why else None,
                facts(pairs),
            ),
        ),
        Section("error", "", error_box(record)),
        _acts(view, found, None),
        Section("jobs", "Jobs", _job_rows(view, view.browser.jobs_of(acquisition_id))),
        _history(events, view.browser.count_events(acquisition_id=acquisition_id)),
    )
    trail = (("Acquisitions", "/acquisitions"),)
    return Page(f"{record['folder']} / {record['name']}", sections, trail=trail)


def _acquisition_facts(
    view: View, found: AcquisitionRow, record: Record
) -> Iterator[tuple[str, Piece]]:
    yield "Path", tag("code", show_path(found.path))
    yield "Holds", f"{plural(record['files'], 'file')}, {size(record['total_bytes'])}"
    yield "Seen", moment(record["seen_at_us"], view.now_us)
    yield "Changed", moment(record["changed_at_us"], view.now_us)
    if record["vanished_at_us"] is not None:
        yield "Not there since", moment(record["vanished_at_us"], view.now_us)


# ---------------------------------------------------------------- one job


def _summary(view: View, job: Job, found: AcquisitionRow) -> Section:
    own = f"/acquisitions/{job.acquisition_id}"
    layout = (job.result or {}).get("layout")
    pairs: list[tuple[str, Piece]] = [
        ("Source", tag("a", tag("code", show_path(found.path)), href=own)),
        ("Holds", f"{plural(job.files, 'file')}, {size(job.total_bytes)}"),
        ("Layout", layout),
        ("Generation", str(job.generation) if job.generation > 1 else None),
        ("Attempt", str(job.attempt) if job.attempt > 1 else None),
        ("Queued", moment(job.queued_at_us, view.now_us)),
        ("Begun", moment(job.claimed_at_us, view.now_us) if job.claimed_at_us else None),
        ("Finished", moment(job.finished_at_us, view.now_us) if job.finished_at_us else None),
        ("Again", moment(job.not_before_us, view.now_us) if _is_waiting(job) else None),
        ("Took", _describe_pace(job)),
    ]
    lead = tag("p", badge(str(job.state)), f" job {job.job_id}", class_="lead")
    return Section("summary", "", markup(lead, facts(pairs)))


def _is_waiting(job: Job) -> bool:
    return job.state is JobState.WAITING and job.not_before_us > 0


def _describe_pace(job: Job) -> str | None:
    result = job.result or {}
    seconds = float(result.get("seconds") or 0)
    if not seconds:
        return None
    speed = float(result.get("bytes_read") or 0) / seconds / 1e6
    return f"{format_duration(seconds)}, {speed:.1f} MB/s, {result.get('peak_mib', 0):,.0f} MiB"


def _running(view: View, job: Job) -> Section:
    cards = [
        conversion_card(one, has_title=False)
        for one in view.snapshot.conversions
        if one.record["job_id"] == job.job_id
    ]
    return Section("running", "Converting", tag("ul", cards, class_="cards") if cards else NOTHING)


def _error(found: AcquisitionRow, job: Job) -> Section:
    if job.state in (JobState.SUCCEEDED, JobState.CLAIMED):
        return Section("error")
    is_stuck = job.state in (JobState.PARKED, JobState.FAILED)
    resuming = None
    if is_stuck and job.generation == found.acquisition.generation:
        resuming = (
            tag("b", "Once that is mended: "),
            prose(describe_resuming(job.folder, job.job_id)),
        )
    return Section("error", "", error_box(job.as_record(), resuming=resuming))


def _acts(view: View, found: AcquisitionRow, job: Job | None) -> Section:
    return Section("actions", "", action_forms(view, found, job))


def _datasets(view: View, details: JobDetails) -> Section:
    results = {one["path"]: one for one in (details.job.result or {}).get("datasets", ())}
    cards = []
    for dataset in details.datasets:
        url = details.urls.get(dataset.run_id)
        result = results.get(url or show_path(dataset.path), {})
        cards.append(_dataset_card(view, dataset, result, url))
    body = tag("ul", cards, class_="cards") if cards else NOTHING
    return Section("datasets", "Datasets", body, len(cards))


def _dataset_card(view: View, dataset: DatasetRecord, result: Record, url: str | None) -> Markup:
    picture = tag(
        "img",
        src=f"/previews/{dataset.run_id}.png",
        alt=f"Middle slices of {dataset.name}: xy, xz and yz",
        class_="preview",
    )
    edges = result.get("voxel_size_nm") or ()
    pairs: list[tuple[str, Piece]] = [
        ("Place", tag("code", url or show_path(dataset.path))),
        ("Size", size(dataset.total_bytes) if dataset.total_bytes else None),
        ("Voxel size", " × ".join(f"{edge:g}" for edge in edges) + " nm" if edges else None),
        ("Layers", [tag("p", _describe_layer(layer)) for layer in result.get("layers", ())]),
        ("Published", moment(dataset.published_at_us, view.now_us)),
    ]
    return tag(
        "li",
        tag("h3", badge(str(dataset.state)), " ", dataset.name),
        picture if view.has_preview(dataset.run_id) else None,
        _view_link(view, dataset) if url is None else None,
        facts(pairs),
        class_="card",
    )


def _view_link(view: View, dataset: DatasetRecord) -> Markup:
    if dataset.state is not DatasetState.PUBLISHED or view.options.viewer is None:
        return NOTHING
    path = view_path(dataset.dataset_id)
    return tag("p", tag("a", "Look at it in three dimensions", href=path, class_="button"))


def _describe_layer(layer: Record) -> str:
    extent = " × ".join(f"{edge:,}" for edge in layer["bounding_box"]["size"])
    kind = "segmentation, " if layer["category"] == "segmentation" else ""
    return (
        f"{layer['name']}: {kind}{layer['voxel_type']}, {extent}, mags {', '.join(layer['mags'])}"
    )


def _sent(view: View, job: Job) -> Section:
    found = view.browser.deliveries_of(job.job_id)
    return Section("deliveries", "Delivery", delivery_rows(view, found))


def _source(details: JobDetails) -> Section:
    if details.disposal is None:
        return Section("source")
    said = describe_disposal(details.disposal.as_record())
    return Section("source", "Source", tag("p", f"The acquisition's files: {said}."))


def _warnings(job: Job) -> Section:
    warnings = (job.result or {}).get("warnings") or ()
    body = tag("ul", [tag("li", warning) for warning in warnings]) if warnings else NOTHING
    return Section("warnings", "Worth a look", body)


def _siblings(view: View, job: Job) -> Section:
    others = [one for one in view.browser.jobs_of(job.acquisition_id) if one.job_id != job.job_id]
    return Section("siblings", "Other jobs of this acquisition", _job_rows(view, others))


def _job_rows(view: View, jobs: Sequence[Job]) -> Markup:
    headings = ("Job", "State", "Generation", "Size", "Finished", "Note")
    rows = [
        (
            tag("a", f"job {job.job_id}", href=f"/jobs/{job.job_id}"),
            badge(str(job.state)),
            str(job.generation),
            size(job.total_bytes),
            moment(job.finished_at_us, view.now_us),
            str((job.error or {}).get("error_code") or ""),
        )
        for job in jobs[:EVENTS_SHOWN]
    ]
    return table("Jobs", headings, rows)


# ---------------------------------------------------------------- what happened


def _history(events: Sequence[EventRecord], count: int) -> Section:
    """Return the last events; `count` of all there are."""
    left_out = count - len(events)
    items = [_event_item(event) for event in events]
    before = tag("p", f"{left_out:,} earlier lines are not shown.", class_="dim")
    body = markup(before if left_out > 0 else None, tag("ol", items, class_="story"))
    return Section("story", "What happened", body if items else NOTHING, count)


def _event_item(event: EventRecord) -> Markup:
    told = event.facts
    states = f"{event.state_from or '–'} → {event.state_to}" if event.state_to else ""
    code = told.get("error_code")
    rest = [
        tag("span", f"{key} {_show_fact(key, value)}")
        for key, value in told.items()
        if key not in _LONG and value not in (None, "", [], {})
    ]
    said = told.get("message") or told.get("reason")
    hint = told.get("hint")
    return tag(
        "li",
        tag("span", format_time(event.at_us), class_="when"),
        " ",
        tag("code", event.event),
        " ",
        tag("span", states, class_="dim"),
        (" ", tag("code", code)) if code else None,
        tag("p", prose(str(said))) if said else None,
        tag("p", prose(str(hint)), class_="hint") if hint and str(hint) not in str(said) else None,
        tag("p", rest, class_="facts") if rest else None,
    )


def _show_fact(key: str, value: Any) -> str:  # a JSON value
    if key in _SIZES and isinstance(value, int):
        return size(value)
    if key.endswith("_at_us") and isinstance(value, int):
        return format_time(value)
    text = show_path(value) if isinstance(value, str | Path) else str(value)
    return text if len(text) <= 300 else f"{text[:299]}…"
