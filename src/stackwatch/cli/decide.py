"""`stackwatch jobs accept` and `forget`: what a person decides about an acquisition."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackwatch.cli.answers import answer_json, answer_text
from stackwatch.cli.options import ConfigOption, JsonFlag, SetOption
from stackwatch.cli.status import find_state_dir

if TYPE_CHECKING:
    from stackwatch.ledger.ledger import Ledger
    from stackwatch.ledger.records import AcquisitionRecord

WhatArgument = Annotated[
    str, typer.Argument(metavar="WHAT", help="An acquisition's path or name, or a job's number.")
]


def accept(
    what: WhatArgument,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Take an arriving acquisition for complete, as it is now.

    A missing marker, a wrong number of files, names of unfinished transfers no longer hold it back
    for as long as nothing in it changes. Open or unreadable files still do.
    """
    found, _, is_live = _decide(
        "accept",
        what,
        find_state_dir(config, assignments),
        lambda ledger, found: {"mark": ledger.verdicts.accept(found.folder, found.key)},
    )
    record = {**_name(found), "daemon": is_live}
    if as_json:
        answer_json({"status": "accepted", **record})
        return
    when = "as it is now" if is_live else "as it was last recorded; no daemon runs"
    answer_text(f"{record['folder']}/{record['acquisition']} is accepted {when}")


def forget(
    what: WhatArgument,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Ignore an acquisition until its content changes.

    Its open jobs end; nothing of it is removed, and its datasets stay as they are.
    """
    found, told, is_live = _decide(
        "forget",
        what,
        find_state_dir(config, assignments),
        lambda ledger, found: {"ended_jobs": ledger.verdicts.forget(found.folder, found.key)},
    )
    record = {**_name(found), "ended_jobs": told["ended_jobs"], "daemon": is_live}
    if as_json:
        answer_json({"status": "ignored", **record})
        return
    jobs = f"; {record['ended_jobs']} open job(s) ended" if record["ended_jobs"] else ""
    answer_text(
        f"{record['folder']}/{record['acquisition']} is ignored until its content changes{jobs}"
    )


def _decide(
    command: str,
    what: str,
    state_dir: Path,
    without_daemon: "Callable[[Ledger, AcquisitionRecord], dict[str, Any]]",
) -> tuple["AcquisitionRecord", dict[str, Any], bool]:
    """Ask the daemon, or write into the ledger where none runs; return what and what was told."""
    from stackwatch.daemon.control import request
    from stackwatch.errors import NoDaemonError
    from stackwatch.ledger.explaining import find_acquisition
    from stackwatch.ledger.ledger import Ledger
    from stackwatch.ledger.reader import LedgerReader

    with LedgerReader.open(state_dir) as reader:
        found = find_acquisition(reader, what)
        folders = {folder.name: folder.path for folder in reader.list_folders()}
    path = str(folders[found.folder] / found.key)
    try:
        return found, request(state_dir, {"command": command, "path": path}), True
    except NoDaemonError:
        with Ledger.open(state_dir) as ledger:
            return found, without_daemon(ledger, found), False


def _name(found: "AcquisitionRecord") -> dict[str, Any]:
    record = found.as_record()
    return {"folder": record["folder"], "acquisition": record["acquisition"]}
