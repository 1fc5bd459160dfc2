"""Say what becomes, or became, of a source after its dataset was published."""

from collections.abc import Mapping
from typing import Any

from stackwatch.cli.tables import format_time


def describe_disposal(disposal: Mapping[str, Any]) -> str:
    """Return one line.

    Parameters
    ----------
    disposal : mapping
        As `DisposalRecord.as_record` gives it.
    """
    is_archive = disposal["action"] == "archive"
    match disposal["state"]:
        case "done":
            where = f"archived to {disposal['archive_path']}" if is_archive else "deleted"
            return f"{where} at {format_time(disposal['finished_at_us'])}"
        case "running":
            return "is being archived" if is_archive else "is being deleted"
        case "refused":
            return f"kept: {disposal['message']}"
        case _:
            what = "archived" if is_archive else "deleted"
            plan = f"to be {what} at {format_time(disposal['due_at_us'])} or later"
            return f"{plan}; {disposal['message']}" if disposal["message"] else plan
