"""`stackwatch jobs`: list, show, retry, explain, accept and forget."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering
from stackwatch.cli.decide import accept, forget
from stackwatch.cli.options import NUMBER_MAX, ConfigOption, JsonFlag, SetOption
from stackwatch.cli.status import find_state_dir
from stackwatch.cli.tables import format_bytes, format_table, format_time
from stackwatch.errors import NoDaemonError, UsageError
from stackwatch.model.delivery_wording import describe_delivery
from stackwatch.model.wording import EVENTS_SHOWN, describe_disposal, describe_resuming

if TYPE_CHECKING:
    from stackwatch.ledger.reader import LedgerReader

JobArgument = Annotated[
    int, typer.Argument(metavar="JOB", min=1, max=NUMBER_MAX, help="The job's number.")
]
LinesOption = Annotated[
    int, typer.Option("--limit", min=1, max=100_000, help="At most so many lines of its history.")
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="List, show, retry and explain jobs; accept or forget acquisitions.",
    )
    group.command("list", epilog="Example: stackwatch jobs list --state parked")(
        answering(list_jobs)
    )
    group.command("show", epilog="Example: stackwatch jobs show 118")(answering(show))
    group.command("retry", epilog="Example: stackwatch jobs retry 118")(answering(retry))
    group.command("explain", epilog="Example: stackwatch jobs explain /drop/em2/run_041")(
        answering(explain)
    )
    group.command("accept", epilog="Example: stackwatch jobs accept /drop/em2/run_041")(
        answering(accept)
    )
    group.command("forget", epilog="Example: stackwatch jobs forget /drop/em2/run_041")(
        answering(forget)
    )
    app.add_typer(group, name="jobs")


def list_jobs(
    state: Annotated[
        Literal["queued", "claimed", "waiting", "succeeded", "failed", "parked"] | None,
        typer.Option(help="Only jobs in this state."),
    ] = None,
    folder: Annotated[str | None, typer.Option(help="Only jobs of this drop folder.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, the newest first."""
    from stackwatch.ledger.documents import build_jobs
    from stackwatch.ledger.reader import LedgerReader
    from stackwatch.model.job import JobState

    wanted = JobState(state) if state is not None else None
    with LedgerReader.open(find_state_dir(config, assignments)) as reader:
        record = build_jobs(reader, wanted, folder, limit)
        unknown = describe_unknown(reader, folder)
    jobs = record["jobs"]
    if as_json:
        answer_json(record)
    elif not jobs:
        answer_text(f"no jobs{unknown}")
    else:
        headings = ("JOB", "STATE", "ACQUISITION", "TRY", "SIZE", "QUEUED", "")
        answer_text(format_table(headings, [_row(job) for job in jobs]))


def show(
    job: JobArgument,
    limit: LinesOption = EVENTS_SHOWN,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show a job: what it is, what it made, what happened to it."""
    from stackwatch.ledger.documents import build_job
    from stackwatch.ledger.reader import LedgerReader

    with LedgerReader.open(find_state_dir(config, assignments)) as reader:
        record = build_job(reader, job, limit)
    if record is None:
        raise no_such_job(job)
    if as_json:
        answer_json(record)
    else:
        answer_text(_describe(record))


def retry(
    job: JobArgument,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Queue a parked or failed job again.

    Asks the daemon; where none runs, the job is queued in the ledger for the next one.
    """
    from stackwatch.daemon.control import request
    from stackwatch.ledger.ledger import Ledger
    from stackwatch.ledger.reader import LedgerReader
    from stackwatch.model.job import JobId

    state_dir = find_state_dir(config, assignments)
    LedgerReader.open(state_dir).close()  # a mistyped `state_dir` must not make a new ledger
    try:
        request(state_dir, {"command": "retry", "job": job})
        is_taken = True
    except NoDaemonError:
        with Ledger.open(state_dir) as ledger:
            ledger.jobs.retry(JobId(job))
        is_taken = False
    if as_json:
        answer_json({"status": "queued", "job_id": job, "daemon": is_taken})
    else:
        later = "" if is_taken else "; no daemon runs, the next one takes it up"
        answer_text(f"job {job} is queued again{later}")


def explain(
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help="An acquisition's path or name, or a job's number."),
    ],
    limit: LinesOption = EVENTS_SHOWN,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell why something is, or is not yet, converted."""
    from stackwatch.cli.explain import explain_acquisition

    record = explain_acquisition(find_state_dir(config, assignments), what, limit)
    if as_json:
        answer_json(record)
        return
    acquisition, job = record["acquisition"], record["job"]
    lines = [
        f"{acquisition['folder']}/{acquisition['acquisition']} is {acquisition['state']}: "
        f"{record['because']}",
        f"  {acquisition['files']} files, {format_bytes(acquisition['total_bytes'])}, "
        f"seen {format_time(acquisition['seen_at_us'])}, "
        f"changed {format_time(acquisition['changed_at_us'])}",
    ]
    if job is not None:
        lines.append(f"  job {job['job_id']}: {job['state']}, attempt {job['attempt']}")
    answer_text("\n".join([*lines, *_history(record)]))


def describe_unknown(reader: "LedgerReader", folder: str | None) -> str:
    """Return what to add to an empty answer where no drop folder of that name was ever watched."""
    known = [one.name for one in reader.list_folders()]
    if folder is None or folder in known:
        return ""
    return f"; no drop folder “{folder}” was watched so far, but {', '.join(known) or 'none'}"


def no_such_job(job: int) -> UsageError:
    """Return the error for a number that is no job's."""
    hint = "`stackwatch jobs list` shows the jobs."
    return UsageError(f"There is no job {job}. {hint}", hint=hint, job=job)


def _row(job: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(job["job_id"]),
        job["state"],
        f"{job['folder']}/{job['acquisition']}",
        str(job["attempt"]),
        format_bytes(job["total_bytes"]),
        format_time(job["queued_at_us"]),
        job["error_code"] or ("superseded" if job["is_superseded"] else ""),
    )


def _describe(record: Mapping[str, Any]) -> str:
    job = record["job"]
    lines = [
        f"job {job['job_id']}: {job['state']}",
        f"  acquisition  {job['folder']}/{job['acquisition']}, generation {job['generation']}, "
        f"{job['files']} files, {format_bytes(job['total_bytes'])}",
        f"  attempt      {job['attempt']}",
        f"  queued       {format_time(job['queued_at_us'])}",
        f"  finished     {format_time(job['finished_at_us'])}",
    ]
    if job["error_code"]:
        lines += [f"  error        {job['error_code']}: {job['message']}"]
    if job["hint"] and job["hint"] not in (job["message"] or ""):
        lines += [f"  hint         {job['hint']}"]
    if job["state"] in ("parked", "failed"):
        lines.append(f"  then         {describe_resuming(job['folder'], job['job_id'])}")
    lines += [f"  dataset      {d['url'] or d['path']} ({d['state']})" for d in record["datasets"]]
    lines += [f"  delivery     {describe_delivery(one)}" for one in record["deliveries"]]
    if record["disposal"] is not None:
        lines.append(f"  source       {describe_disposal(record['disposal'])}")
    return "\n".join([*lines, *_history(record)])


def _history(record: Mapping[str, Any]) -> list[str]:
    left_out = record["event_count"] - len(record["events"])
    before = f"  {left_out:,} earlier lines are not shown; --limit shows more"
    return [before] * (left_out > 0) + [
        f"  {format_time(event['at_us'])}  {event['event']}"
        + (f"  {event['state_from'] or '-'} → {event['state_to']}" if event["state_to"] else "")
        + (f"  {event['facts']['error_code']}" if event["facts"].get("error_code") else "")
        for event in record["events"]
    ]
