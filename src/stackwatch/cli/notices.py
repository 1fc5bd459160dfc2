"""`stackwatch notices`: try the receivers of notices, and look at what was told."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering
from stackwatch.cli.options import ConfigOption, JsonFlag, SetOption
from stackwatch.cli.status import find_state_dir
from stackwatch.cli.tables import fold, format_table, format_time
from stackwatch.errors import ExitCode, UsageError

_LIMIT = 50


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Try the receivers of notices, and look at what was told.",
    )
    group.command("test", epilog="Example: stackwatch notices test --config config.toml")(
        answering(try_receivers)
    )
    group.command("list", epilog="Example: stackwatch notices list")(answering(list_notices))
    app.add_typer(group, name="notices")


def try_receivers(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonFlag = False
) -> int:
    """Send a test to every receiver, and tell what each answered.

    Uses the settings of `[notices]`; no daemon is needed. Ends with 1 if any receiver was not
    reached.
    """
    from stackwatch.model.notice import ReceiverOptions
    from stackwatch.notices.sending import send_test
    from stackwatch.settings import load_settings

    settings = load_settings(config, assignments=assignments or ()).settings.notices
    options = ReceiverOptions(settings.webhook, settings.apprise_file)
    if not options:
        hint = "Set `webhook` or `apprise_file` under `[notices]`."
        raise UsageError(f"Nobody is to be told: `[notices]` names no receiver. {hint}", hint=hint)
    answers = list(send_test(options))
    is_well = all(answer.is_reached for answer in answers)
    if as_json:
        answer_json({
            "status": "ok" if is_well else "failed",
            "receivers": [
                {"name": one.name, "is_reached": one.is_reached, "message": one.reason}
                for one in answers
            ],
        })  # fmt: skip
    else:
        rows = [(one.name, "yes" if one.is_reached else "NO", one.reason) for one in answers]
        answer_text(format_table(("RECEIVER", "REACHED", "ANSWER"), rows))
    return ExitCode.DONE if is_well else ExitCode.FAILED


def list_notices(
    config: ConfigOption = None,
    assignments: SetOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = _LIMIT,
    as_json: JsonFlag = False,
) -> None:
    """List what people were told, or are about to be.

    Reads the ledger; it works whether or not the daemon runs.
    """
    from stackwatch.ledger.reader import LedgerReader

    with LedgerReader.open(find_state_dir(config, assignments)) as reader:
        records = [one.as_record() for one in reader.list_notices(limit)]
    if as_json:
        answer_json({"status": "ok", "notices": records})
    elif records:
        rows = [_row(record) for record in records]
        answer_text(format_table(("NOTICE", "WHEN", "ABOUT", "STATE"), rows))
        failed = [record for record in records if record["state"] != "sent" and record["message"]]
        for record in failed:
            answer_text(fold(f"notice {record['notice_id']}: {record['message']}"))
    else:
        answer_text("no notices")


def _row(record: Mapping[str, Any]) -> tuple[str, str, str, str]:
    over = " (over)" if record["is_recovery"] else ""
    what = f"{record['kind']}{over}: {record['facts'].get('name') or record['subject']}"
    return str(record["notice_id"]), format_time(record["created_at_us"]), what, record["state"]
