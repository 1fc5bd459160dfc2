"""What `stackwatch top` shows: the document of `status` as tables and bars, worst first."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stackwatch.model.wording import (
    describe_slices,
    format_age,
    format_bytes,
    format_duration,
    format_time,
    now_us,
)
from stackwatch.web.rates import Rate

_BAR: Final = 24
_STATES: Final = {"healthy": "green", "polling": "green", "unavailable": "bold red"}


def draw_status(record: Mapping[str, Any], rates: Mapping[int, Rate]) -> RenderableType:
    """Return the screen.

    Parameters
    ----------
    record : mapping
        The document of `stackwatch status`.
    rates : mapping of job number to Rate
    """
    parts: list[RenderableType] = [_head(record), Text(), _folders(record)]
    if record["converting"]:
        parts += [Text(), _converting(record, rates)]
    for title, style, rows in (
        ("needs a human", "bold red", _parked(record)),
        ("waits", "yellow", _waiting(record)),
        ("arrives", "cyan", _arriving(record)),
        ("is delivered", "cyan", _delivering(record)),
    ):
        if listed := list(rows):
            parts += [Text(), _titled(title, style, listed)]
    return Group(*parts)


def _head(record: Mapping[str, Any]) -> Text:
    daemon, text = record["daemon"], Text("stackwatch ", style="bold")
    if record["status"] == "running":
        text.append("running", style="bold green")
        text.append(f"  version {daemon['version']}, pid {daemon['pid']}, ")
        text.append(f"since {format_time(daemon['started_at_us'])}")
    elif daemon is None:
        text.append("has not run yet", style="bold red")
    else:
        text.append("does not run", style="bold red")
        text.append(f"  last sign of life {format_age(daemon['alive_at_us'], now_us())}")
    counts = ", ".join(f"{count} {state}" for state, count in record["jobs"].items() if count)
    text.append(f"\njobs: {counts or 'none'}", style="dim")
    if record["degraded"]:
        text.append(f"\nnothing new is begun: {record['degraded']}", style="bold red")
    return text


def _folders(record: Mapping[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("FOLDER", "STATE", "ACQUISITIONS", "PATH"):
        table.add_column(heading, overflow="fold")
    for folder in record["folders"]:
        if not folder["is_configured"]:
            continue
        name, state = folder["name"], folder["state"]
        counts = ", ".join(f"{n} {what}" for what, n in folder["acquisitions"].items() if n)
        pause = record["paused"].get(name, {}).get("reason")
        why = f"  {pause or folder['reason'] or ''}".rstrip()
        table.add_row(
            Text(name, style="bold"),
            Text("paused", style="yellow") if pause else Text(state, style=_STATES.get(state, "")),
            Text(counts or "none"),
            Text(folder["path"]) + Text(why, style="dim"),
        )
    return table


def _converting(record: Mapping[str, Any], rates: Mapping[int, Rate]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("JOB", "CONVERTING", "", "", ""):
        table.add_column(heading)
    for job in record["converting"]:
        done = job["progress"] or {}
        total = int(done.get("total") or 0)
        slices = describe_slices(done)
        table.add_row(
            Text(str(job["job_id"])),
            Text(f"{job['folder']}/{job['acquisition']}", style="bold"),
            ProgressBar(total=total or None, completed=int(done.get("done") or 0), width=_BAR),
            Text(f"{done.get('phase', 'starting')} {slices}".rstrip()),
            Text(_describe_rate(rates.get(job["job_id"], Rate())), style="dim"),
        )
    return table


def _describe_rate(rate: Rate) -> str:
    told = []
    if rate.read_per_s:
        told.append(f"{format_bytes(rate.read_per_s)}/s")
    if rate.left_s is not None:
        told.append(f"about {format_duration(rate.left_s)} left")
    return ", ".join(told)


def _parked(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in record["parked"]:
        job = f" (job {one['job_id']})" if one["job_id"] is not None else ""
        yield f"{one['folder']}/{one['acquisition']}{job}", str(one["message"])


def _waiting(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in record["waiting"]:
        name = f"{one['folder']}/{one['acquisition']} (job {one['job_id']})"
        yield name, f"again at {format_time(one['not_before_us'])}: {one['message']}"


def _arriving(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in record["arriving"]:
        size = f"{one['files']} files, {format_bytes(one['total_bytes'])}"
        reasons = "; ".join(one["not_ready"]) or one["state"]
        yield f"{one['folder']}/{one['acquisition']}", f"{size}: {reasons}"


def _delivering(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    from stackwatch.model.delivery_wording import describe_delivery

    for one in record["deliveries"]["open"]:
        yield f"{one['folder']}/{one['dataset']}", describe_delivery(one)


def _titled(title: str, style: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(title.upper(), overflow="fold")  # a long name must not hide the reason
    table.add_column("", overflow="fold")
    for name, told in rows:
        table.add_row(Text(name, style=style), Text(told))
    return table
