"""`stackwatch status`: tell how the service is doing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering
from stackwatch.cli.live import ask_daemon
from stackwatch.cli.options import ConfigOption, JsonFlag, SetOption
from stackwatch.cli.tables import fold, format_age, format_table, format_time, now_us
from stackwatch.model.wording import describe_disposal, describe_slices


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", epilog="Example: stackwatch status --config config.toml")(
        answering(status)
    )


def status(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonFlag = False
) -> None:
    """Tell how the service is doing: daemon, drop folders, jobs.

    Reads the ledger; it works whether or not the daemon runs.
    """
    from stackwatch.ledger.documents import add_live, build_status
    from stackwatch.ledger.reader import LedgerReader

    state_dir = find_state_dir(config, assignments)
    with LedgerReader.open(state_dir) as reader:
        record = build_status(reader)
    if record["status"] == "running":
        add_live(record, ask_daemon(state_dir, {"command": "status"}) or {})
    if as_json:
        answer_json(record)
    else:
        answer_text(_describe(record))


def find_state_dir(config: Path | None, assignments: Sequence[str] | None) -> Path:
    """Return where the service keeps its ledger; the system's file may be absent."""
    from stackwatch.settings import load_settings

    loaded = load_settings(config, assignments=assignments or (), is_file_needed=False)
    return loaded.settings.daemon.state_dir


def _describe(record: Mapping[str, Any]) -> str:
    lines = [_describe_daemon(record)]
    if record["degraded"]:
        lines.append(f"degraded, nothing new is begun: {record['degraded']}")
    folders = [folder for folder in record["folders"] if folder["is_configured"]]
    if folders:
        rows = [(f["name"], f["state"], _counts(f["acquisitions"]), f["path"]) for f in folders]
        lines += ["", format_table(("FOLDER", "STATE", "ACQUISITIONS", "PATH"), rows)]
        lines += [f"{f['name']}: {f['reason']}" for f in folders if f["reason"]]
    lines += [f"{name}: {pause['reason']}" for name, pause in sorted(record["paused"].items())]
    lines += ["", f"jobs: {_counts(record['jobs'])}"]
    lines += [f"converting: {_describe_job(job)}" for job in record["converting"]]
    lines += [_describe_arriving(acquisition) for acquisition in record["arriving"]]
    lines += [_describe_waiting(job) for job in record["waiting"]]
    lines += [_describe_parked(acquisition) for acquisition in record["parked"]]
    lines += [_describe_disposal(disposal) for disposal in record["disposals"]]
    lines += _describe_deliveries(record["deliveries"])
    return "\n".join(map(fold, lines))


def _describe_daemon(record: Mapping[str, Any]) -> str:
    daemon = record["daemon"]
    if daemon is None:
        return "no daemon (none has run yet)"
    if record["status"] == "running":
        since = format_time(daemon["started_at_us"])
        return f"daemon running (pid {daemon['pid']}, version {daemon['version']}, since {since})"
    age = format_age(daemon["alive_at_us"], now_us())
    how = "stopped on request" if daemon["stopped_at_us"] else "ended without a word"
    return f"no daemon (last sign of life {age}, {how})"


def _describe_job(job: Mapping[str, Any]) -> str:
    progress = job["progress"] or {}
    slices = describe_slices(progress)
    done = f", {progress['phase']} {slices}" if slices else ""
    return f"job {job['job_id']}, {job['folder']}/{job['acquisition']}{done}"


def _describe_arriving(acquisition: Mapping[str, Any]) -> str:
    reasons = "; ".join(acquisition["not_ready"])
    since = format_time(acquisition["changed_at_us"])
    told = f", not ready because {reasons}" if reasons else ""
    return (
        f"{acquisition['state']}: {acquisition['folder']}/{acquisition['acquisition']}, "
        f"{acquisition['files']} files, since {since}{told}"
    )


def _describe_waiting(job: Mapping[str, Any]) -> str:
    again = format_time(job["not_before_us"])
    return (
        f"waiting: {job['folder']}/{job['acquisition']} (job {job['job_id']}), again at {again}: "
        f"{job['message']}"
    )


def _describe_disposal(disposal: Mapping[str, Any]) -> str:
    return f"source: {disposal['folder']}/{disposal['acquisition']}: {describe_disposal(disposal)}"


def _describe_deliveries(deliveries: Mapping[str, Any]) -> list[str]:
    from stackwatch.model.delivery_wording import describe_delivery

    if not any(deliveries["counts"].values()):
        return []
    lines = [f"deliveries: {_counts(deliveries['counts'])}"]
    if deliveries["paused"] is not None:
        lines.append(f"all deliveries wait: {deliveries['paused']['message']}")
    told = {deliveries["paused"]["message"]} if deliveries["paused"] is not None else set()
    return lines + [
        f"delivery {one['delivery_id']}: {one['folder']}/{one['dataset']}: {describe_delivery(one)}"
        for one in deliveries["open"]
        if one["message"] not in told  # the same for all is said once
    ]


def _describe_parked(acquisition: Mapping[str, Any]) -> str:
    name = f"{acquisition['folder']}/{acquisition['acquisition']}"
    job = f" (job {acquisition['job_id']})" if acquisition["job_id"] is not None else ""
    return f"parked: {name}{job}: {acquisition['message']}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none"
