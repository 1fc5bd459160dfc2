"""`stackwatch run --dry-run`: what would become of what lies in the drop folders."""

import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stackwatch.cli.answers import answer_json, answer_text, say
from stackwatch.cli.inspect import describe_facts
from stackwatch.cli.tables import format_table
from stackwatch.errors import ExitCode

if TYPE_CHECKING:
    from stackwatch.daemon.rehearsal import RehearsalResult

_WORDS: Final = {
    "convert": "would be converted",
    "park": "would be parked",
    "compare": "would be compared",
    "retry": "would be retried",
    "not_ready": "not ready",
    "published": "published",
    "parked": "parked before",
    "converting": "converting",
    "ignore": "ignored",
}


def rehearse(
    config: Path | None, assignments: Sequence[str], patience_s: float | None, *, as_json: bool
) -> int:
    """Answer the dry run and return the exit code."""
    from stackwatch.clock import SystemClock
    from stackwatch.daemon.drain import Drain
    from stackwatch.daemon.rehearsal import rehearse_run
    from stackwatch.logs import configure_logs
    from stackwatch.settings import load_settings

    settings = load_settings(config, assignments=assignments).settings
    configure_logs(sys.stderr, "console", "error")
    with tempfile.TemporaryDirectory(prefix="stackwatch-") as scratch:
        found = rehearse_run(settings, Path(scratch), SystemClock(), Drain(patience_s), say)
    record = _record(found)
    if as_json:
        answer_json(record)
    else:
        answer_text(describe_rehearsal(record))
    return ExitCode.PARKED if found.needs_human else ExitCode.DONE


def _record(found: "RehearsalResult") -> dict[str, Any]:
    return {
        "status": "parked" if found.needs_human else "ready",
        "acquisitions": [one.as_record() for one in found.acquisitions],
        "unavailable": [one.as_record() for one in found.unavailable],
    }


def describe_rehearsal(record: Mapping[str, Any]) -> str:
    """Return the answer for people: a table, then what there is to say of each."""
    found = record["acquisitions"]
    lines: list[str] = []
    if found:
        rows = [(f"{a['folder']}/{a['acquisition']}", _word(a), _target(a)) for a in found]
        lines += [format_table(("ACQUISITION", "", "DATASET"), rows), ""]
    for acquisition in found:
        lines += _describe(acquisition)
    lines += [f"{one['folder']}: {one['reason']}" for one in record["unavailable"]]
    counts = Counter(_word(acquisition) for acquisition in found)
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    return "\n".join([*lines, f"{told or 'nothing found'}; nothing was written"])


def _word(acquisition: Mapping[str, Any]) -> str:
    verdict = str(acquisition["verdict"])
    return _WORDS.get(verdict, verdict)


def _target(acquisition: Mapping[str, Any]) -> str:
    return str(acquisition["path"] or "-")


def _describe(acquisition: Mapping[str, Any]) -> list[str]:
    """Return what the table has no room for; nothing for what is just as it was."""
    name = f"{acquisition['folder']}/{acquisition['acquisition']}"
    if acquisition["verdict"] == "convert":
        again = f", generation {acquisition['generation']}" * (acquisition["generation"] > 1)
        details = [f"  {line}" for line in describe_facts(acquisition)]
        return [f"{name} would be converted{again}:", *details, ""]
    if acquisition["reason"] and acquisition["verdict"] not in {"published", "ignore"}:
        code = acquisition.get("error_code")
        return [f"{name} {_word(acquisition)}{f' ({code})' if code else ''}:",
                f"  {acquisition['reason']}", ""]  # fmt: skip
    return []
