"""The first page: what is going on, what waits, what needs a person."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from stackwatch.ledger.browsing import Search
from stackwatch.ledger.documents import SHOWN
from stackwatch.ledger.records import Job
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import DeliveryState
from stackwatch.model.wording import describe_disposal, format_duration
from stackwatch.web.deliveries import delivery_rows
from stackwatch.web.live import Conversion, Disk
from stackwatch.web.markup import NOTHING, Markup, Piece, markup, tag
from stackwatch.web.parts import (
    Page,
    Section,
    badge,
    error_box,
    moment,
    more,
    plural,
    size,
    table,
)
from stackwatch.web.view import View

RECENT: Final = 8
_DELIVERIES: Final = (DeliveryState.RUNNING, DeliveryState.PAUSED, DeliveryState.QUEUED)
Record = Mapping[str, Any]


def build_overview(view: View) -> Page:
    """Return the page `/`."""
    status = view.status()
    sections = (
        _needs_a_person(view, status),
        _converting(view),
        _settling(view, status),
        _queue(view, status),
        _deliveries(view),
        _finished(view, status),
        _folders(view, status),
        _sources(status),
        _disks(view),
    )
    return Page("Overview", sections)


# ---------------------------------------------------------------- what needs a person


def _needs_a_person(view: View, status: Record) -> Section:
    items = [*_troubles(status), *(_parked(view, record) for record in status["parked"])]
    items += [
        _item("delivery parked", record["dataset"], f"/jobs/{record['job_id']}", error_box(record))
        for delivery in view.browser.list_deliveries(DeliveryState.PARKED, limit=SHOWN)
        for record in (delivery.as_record(),)
    ]
    parked = sum(folder["acquisitions"].get("parked", 0) for folder in status["folders"])
    rest = more(parked, len(status["parked"]), "/acquisitions?state=parked")
    count = len(items) + max(0, parked - len(status["parked"]))
    body = tag("ul", items, class_="cards") if items else NOTHING
    return Section("attention", "Needs a person", markup(body, rest), count)


def _troubles(status: Record) -> Iterator[Markup]:
    """Yield what is wrong with the service itself."""
    if status["degraded"]:
        yield _item("degraded", "The ledger takes no writes", "", status["degraded"])
    for folder in status["folders"]:
        if folder["is_configured"] and folder["state"] == "unavailable":
            yield _item("unavailable", f"Drop folder {folder['name']}", "", folder["reason"])
    for name, pause in sorted(status["paused"].items()):
        yield _item("paused", f"Drop folder {name}", "", f"It {pause['reason']}.")


def _parked(view: View, record: Record) -> Markup:
    name = f"{record['folder']} / {record['name']}"
    since = moment(record["changed_at_us"], view.now_us)
    return _item("parked", name, _path_of(record), error_box(record, since))


def _item(state: str, name: str, path: str, *body: Piece) -> Markup:
    title = tag("a", name, href=path) if path else name
    mood = "bad" if "parked" in state else ""
    content = [piece if isinstance(piece, Markup) else tag("p", piece) for piece in body]
    return tag("li", tag("h3", badge(state, mood), " ", title), content, class_="card")


def _path_of(record: Record) -> str:
    """Return the page of an acquisition: of its job, where it has one."""
    job = record.get("job_id")
    return f"/jobs/{job}" if job is not None else f"/acquisitions/{record['acquisition_id']}"


# ---------------------------------------------------------------- what is going on


def _converting(view: View) -> Section:
    cards = [conversion_card(one) for one in view.snapshot.conversions]
    body = tag("ul", cards, class_="cards") if cards else NOTHING
    return Section("converting", "Converting", body, len(cards))


def conversion_card(one: Conversion, *, has_title: bool = True) -> Markup:
    """Return a running conversion: a bar, and its figures in words."""
    record = one.record
    progress = record["progress"] or {}
    done, total = int(progress.get("done") or 0), int(progress.get("total") or 0)
    name, phase = record["acquisition"], str(progress.get("phase") or "starting")
    title = tag(
        "h3",
        badge(phase, "busy"),
        " ",
        tag("a", f"{record['folder']} / {name}", href=f"/jobs/{record['job_id']}"),
    )
    share = f"{100 * done // total} %" if total else "beginning"
    bar = tag(
        "progress", share, value=done if total else None, max=total or None,
        aria_label=f"{name}: {share}",
    )  # fmt: skip
    figures = [*([] if has_title else [phase]), *_figures(one, done, total)]
    return tag(
        "li",
        title if has_title else None,
        bar,
        tag("p", [tag("span", figure) for figure in figures], class_="figures"),
        class_="card",
        id=f"conversion-{record['job_id']}",
    )


def _figures(one: Conversion, done: int, total: int) -> Iterator[str]:
    progress = one.record["progress"] or {}
    if total:
        yield f"{done:,} of {plural(total, 'slice')}"
    if ranges := progress.get("ranges_total"):
        taken = progress.get("ranges_taken")
        earlier = f" ({taken} of an earlier attempt)" if taken else ""
        yield f"{progress['ranges_done']} of {plural(ranges, 'range')}{earlier}"
    if one.read_per_s:
        yield f"{one.read_per_s / 1e6:.1f} MB/s read"
    if one.written_per_s:
        yield f"{one.written_per_s / 1e6:.1f} MB/s written"
    if one.left_s is not None:
        yield f"about {format_duration(one.left_s)} left"
    if layer := progress.get("layer"):
        yield f"layer {layer}"
    yield f"for {format_duration(one.seconds)}"
    if one.record["attempt"] > 1:
        yield f"attempt {one.record['attempt']}"


def _settling(view: View, status: Record) -> Section:
    rows = [
        (
            tag("a", record["name"], href=f"/acquisitions/{record['acquisition_id']}"),
            record["folder"],
            badge(record["state"]),
            plural(record["files"], "file"),
            size(record["total_bytes"]),
            describe_arriving(view, record),
        )
        for record in status["arriving"]
    ]
    headings = ("Acquisition", "Folder", "State", "Files", "Size", "Not ready because")
    arriving = ("settling", "incomplete")
    count = sum(
        folder["acquisitions"].get(state, 0) for folder in status["folders"] for state in arriving
    )
    rest = more(count, len(rows), "/acquisitions?state=settling")
    body = markup(table("Acquisitions that are settling", headings, rows), rest)
    return Section("settling", "Settling", body, count)


def describe_arriving(view: View, record: Record) -> str:
    """Return why an arriving acquisition is not ready, in a sentence."""
    live = view.snapshot.arriving.get((record["folder"], record["acquisition"]))
    if live is None:
        return "; ".join(record["not_ready"]) or "it is still arriving"
    if live.vetoes:
        return "; ".join(live.vetoes)
    quiet = f"quiet for {format_duration(live.quiet_s)}"
    if live.ready_s is None:
        return quiet
    if live.ready_s <= 0:
        return f"{quiet}: looked at once more"
    return f"{quiet}, settles in {format_duration(live.ready_s + 1)}"


def _queue(view: View, status: Record) -> Section:
    jobs = [*view.browser.list_queue(SHOWN)]
    rows = [_queue_row(view, job, at) for at, job in enumerate(jobs, 1)]
    rows += [_waiting_row(view, record) for record in status["waiting"]]
    count = status["jobs"]["queued"] + status["jobs"]["waiting"]
    headings = ("Acquisition", "Folder", "State", "Size", "Queued", "Note")
    rest = more(count, len(rows), "/history?state=queued")
    body = markup(table("Jobs that wait for their turn", headings, rows), rest)
    return Section("queue", "Queue", body, count)


def _queue_row(view: View, job: Job, at: int) -> tuple[Piece, ...]:
    pause = view.snapshot.paused.get(job.folder)
    return (
        tag("a", show_path(job.name), href=f"/jobs/{job.job_id}"),
        job.folder,
        badge("paused" if pause is not None else "queued"),
        size(job.total_bytes),
        moment(job.queued_at_us, view.now_us),
        f"its folder {pause['reason']}" if pause is not None else ("next" if at == 1 else ""),
    )


def _waiting_row(view: View, record: Record) -> tuple[Piece, ...]:
    again = moment(record["not_before_us"], view.now_us) if record["not_before_us"] else "soon"
    return (
        tag("a", record["name"], href=f"/jobs/{record['job_id']}"),
        record["folder"],
        badge("waiting"),
        size(record["total_bytes"]),
        moment(record["queued_at_us"], view.now_us),
        markup(record["message"] or "", " Again at ", again, "."),
    )


def _deliveries(view: View) -> Section:
    found = [
        delivery
        for state in _DELIVERIES
        for delivery in view.browser.list_deliveries(state, limit=SHOWN)
        if not delivery.is_superseded
    ]
    counts = view.browser.count_deliveries()
    count = sum(counts[state] for state in _DELIVERIES)
    return Section("deliveries", "Deliveries", delivery_rows(view, found), count)


# ---------------------------------------------------------------- what was, and what there is


def _finished(view: View, status: Record) -> Section:
    found = view.browser.search_jobs(Search(limit=RECENT, is_ended=True))
    if not found:
        return Section("finished", "Finished", _nothing_yet(status))
    cards = []
    for row in found:
        job = row.job
        picture = (
            tag("img", src=f"/previews/{row.run_id}.png", alt="", loading="lazy", height=96)
            if view.has_preview(row.run_id)
            else None
        )
        cards.append(
            tag(
                "li",
                tag("a", picture, tag("span", show_path(job.name), class_="name"),
                    href=f"/jobs/{job.job_id}"),
                tag("p", badge(str(job.state)), " ", moment(job.finished_at_us, view.now_us)),
                tag("p", tag("a", "WEBKNOSSOS", href=row.link)) if row.link else None,
            )
        )  # fmt: skip
    rest = tag("p", tag("a", "all jobs", href="/history"), class_="more")
    return Section("finished", "Finished", markup(tag("ul", cards, class_="pictures"), rest))


def _nothing_yet(status: Record) -> Markup:
    folders = [folder["path"] for folder in status["folders"] if folder["is_configured"]]
    if sum(status["jobs"].values()) or not folders:
        return tag("p", "Nothing has finished yet.", class_="dim")
    places = markup([[" ", tag("code", path)] for path in folders])
    return tag("p", "Nothing has been converted yet. Drop an acquisition into", places, ".")


def _folders(view: View, status: Record) -> Section:
    folders = [folder for folder in status["folders"] if folder["is_configured"]]
    rows = [
        (
            tag("span", folder["name"], class_="name"),
            markup(badge(folder["state"]), " ", tag("span", folder["reason"], class_="dim")),
            markup(tag("code", folder["path"]), tag("br"), "→ ", tag("code", folder["target"])),
            _counts(folder),
            moment(folder["scanned_at_us"], view.now_us),
        )
        for folder in folders
    ]
    headings = ("Folder", "State", "Place", "Acquisitions", "Looked through")
    return Section("folders", "Drop folders", table("Drop folders", headings, rows), len(rows))


def _counts(folder: Record) -> Markup:
    links = [
        tag("a", f"{count:,} {state}", href=f"/acquisitions?folder={folder['name']}&state={state}")
        for state, count in folder["acquisitions"].items()
        if count
    ]
    return markup([[", ", link] if at else link for at, link in enumerate(links)])


def _sources(status: Record) -> Section:
    rows = [
        (record["acquisition"], record["folder"], badge(record["state"]), describe_disposal(record))
        for record in status["disposals"]
    ]
    headings = ("Acquisition", "Folder", "State", "What becomes of its files")
    return Section("sources", "Sources", table("Sources to be put away", headings, rows))


def _disks(view: View) -> Section:
    rows = [_disk_row(disk) for disk in view.snapshot.disks]
    body = table("Disk space", ("Place", "For", "Free", "Used", "Note"), rows)
    return Section("disks", "Disk space", body)


def _disk_row(disk: Disk) -> tuple[Piece, ...]:
    what = "the ledger" if disk.role == "state" else f"target of {', '.join(disk.folders)}"
    if disk.obstacle or not disk.total_bytes:
        return (tag("code", disk.path), what, badge("unavailable"), "", disk.obstacle)
    used = disk.total_bytes - disk.free_bytes
    share = f"{100 * used // disk.total_bytes} %"
    low = "below the reserve of " + size(disk.reserve_bytes)
    return (
        tag("code", disk.path),
        what,
        size(disk.free_bytes),
        tag(
            "meter", share, min=0, max=disk.total_bytes, value=used,
            high=max(0, disk.total_bytes - disk.reserve_bytes), aria_label=f"used: {share}",
        ),
        low if disk.role == "target" and disk.free_bytes < disk.reserve_bytes else "",
    )  # fmt: skip
