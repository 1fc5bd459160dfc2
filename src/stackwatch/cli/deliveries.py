"""`stackwatch deliveries`: list, show and retry what is delivered to WEBKNOSSOS."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering
from stackwatch.cli.jobs import describe_unknown
from stackwatch.cli.live import ask_daemon
from stackwatch.cli.options import NUMBER_MAX, ConfigOption, JsonFlag, SetOption
from stackwatch.cli.status import find_state_dir
from stackwatch.cli.tables import format_bytes, format_table, format_time
from stackwatch.errors import NoDaemonError
from stackwatch.model.delivery_wording import describe_delivery, describe_progress

DeliveryArgument = Annotated[
    int, typer.Argument(metavar="DELIVERY", min=1, max=NUMBER_MAX, help="The delivery's number.")
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="List, show and retry what is delivered to WEBKNOSSOS.",
    )
    group.command("list", epilog="Example: stackwatch deliveries list --state parked")(
        answering(list_deliveries)
    )
    group.command("show", epilog="Example: stackwatch deliveries show 12")(answering(show))
    group.command("retry", epilog="Example: stackwatch deliveries retry 12")(answering(retry))
    app.add_typer(group, name="deliveries")


def list_deliveries(
    state: Annotated[
        Literal["queued", "running", "paused", "delivered", "parked"] | None,
        typer.Option(help="Only deliveries in this state."),
    ] = None,
    folder: Annotated[str | None, typer.Option(help="Only those of this drop folder.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List deliveries, the newest first."""
    from stackwatch.ledger.documents import build_deliveries
    from stackwatch.ledger.reader import LedgerReader
    from stackwatch.model.delivery import DeliveryState

    wanted = DeliveryState(state) if state is not None else None
    with LedgerReader.open(find_state_dir(config, assignments)) as reader:
        record = build_deliveries(reader, wanted, folder, limit)
        unknown = describe_unknown(reader, folder)
    found = record["deliveries"]
    if as_json:
        answer_json(record)
    elif not found:
        answer_text(f"no deliveries{unknown}")
    else:
        headings = ("DELIVERY", "STATE", "DATASET", "TRY", "SIZE", "QUEUED", "")
        answer_text(format_table(headings, [_row(one) for one in found]))


def show(
    delivery: DeliveryArgument,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show a delivery: where it goes, how far it is, what it waits for."""
    from stackwatch.ledger.deliveries import no_such_delivery
    from stackwatch.ledger.documents import add_live_delivery, build_delivery
    from stackwatch.ledger.reader import LedgerReader

    state_dir = find_state_dir(config, assignments)
    with LedgerReader.open(state_dir) as reader:
        record = build_delivery(reader, delivery)
    if record is None:
        raise no_such_delivery(delivery)
    if record["delivery"]["state"] == "running":
        add_live_delivery(record["delivery"], ask_daemon(state_dir, {"command": "status"}) or {})
    if as_json:
        answer_json(record)
    else:
        answer_text(_describe(record["delivery"], record["events"]))


def retry(
    delivery: DeliveryArgument,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Try a delivery again that is parked, or that waits.

    Asks the daemon; where none runs, the next one takes it up.
    """
    from stackwatch.daemon.control import request
    from stackwatch.ledger.ledger import Ledger
    from stackwatch.ledger.reader import LedgerReader

    state_dir = find_state_dir(config, assignments)
    LedgerReader.open(state_dir).close()  # a mistyped `state_dir` must not make a new ledger
    try:
        request(state_dir, {"command": "retry", "delivery": delivery})
        is_taken = True
    except NoDaemonError:
        with Ledger.open(state_dir) as ledger:
            ledger.deliveries.retry(delivery)
        is_taken = False
    if as_json:
        answer_json({"status": "queued", "delivery_id": delivery, "daemon": is_taken})
    else:
        later = "" if is_taken else "; no daemon runs, the next one takes it up"
        answer_text(f"delivery {delivery} is queued again{later}")


def _row(delivery: Mapping[str, Any]) -> tuple[str, ...]:
    last = delivery["link"] or delivery["error_code"] or ""
    return (
        str(delivery["delivery_id"]),
        delivery["state"],
        f"{delivery['folder']}/{delivery['dataset']}",
        str(delivery["attempt"]),
        _size(delivery),
        format_time(delivery["queued_at_us"]),
        "superseded" if delivery["is_superseded"] else last,
    )


def _size(delivery: Mapping[str, Any]) -> str:
    total = delivery["total_bytes"]
    return format_bytes(total) if total is not None else "-"


def _describe(delivery: Mapping[str, Any], events: list[dict[str, Any]]) -> str:
    lines = [
        f"delivery {delivery['delivery_id']}: {describe_delivery(delivery)}",
        f"  dataset      {delivery['path']} (job {delivery['job_id']}, {_size(delivery)})",
        f"  acquisition  {delivery['folder']}/{delivery['acquisition']}, generation "
        f"{delivery['generation']}",
        f"  server       {delivery['server']} ({delivery['kind']})",
        f"  attempt      {delivery['attempt']}",
        f"  queued       {format_time(delivery['queued_at_us'])}",
        f"  finished     {format_time(delivery['finished_at_us'])}",
    ]
    if delivery["state"] == "running":
        lines.append(f"  progress     {describe_progress(delivery)}")
    if delivery["hint"] and delivery["hint"] not in (delivery["message"] or ""):
        lines.append(f"  hint         {delivery['hint']}")
    lines += [f"  {format_time(event['at_us'])}  {event['event']}" for event in events]
    return "\n".join(lines)
