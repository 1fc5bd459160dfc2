"""`stackwatch replay`: repeat the watcher's decisions from a log."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering
from stackwatch.cli.options import JsonFlag
from stackwatch.errors import ExitCode, UsageError
from stackwatch.model.acquisition import show_path

if TYPE_CHECKING:
    from stackwatch.watch.replay import Replay, Step

_EPILOG = """\b
Examples:
  stackwatch replay stackwatch.log
  stackwatch logs --raw --lines 0 | stackwatch replay - --acquisition run_041
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay", epilog=_EPILOG)(answering(replay))


def replay(
    log: Annotated[
        str, typer.Argument(metavar="LOG", help="A log of JSON lines; `-` reads stdin.")
    ],
    acquisition: Annotated[
        str | None, typer.Option(metavar="NAME", help="Show only this acquisition.")
    ] = None,
    as_json: JsonFlag = False,
) -> int:
    """Repeat the watcher's decisions from a log, and mark what this version decides otherwise.

    For bug reports: shows what was seen, what was decided then and what is decided now, and
    names what must never happen. Reads nothing but the log. Ends with 1 where something differs.
    """
    from stackwatch.watch.replay import replay as repeat

    found = repeat(_iter_lines(log))
    if not found.steps:
        raise _no_looks(log, found)
    record = _record(found, acquisition)
    if as_json:
        answer_json(record)
    else:
        answer_text(_describe(record))
    return ExitCode.DONE if found.is_clean else ExitCode.FAILED


def _iter_lines(log: str) -> Iterator[str]:
    """Yield the lines of the log; bytes that are no text do not matter."""
    if log == "-":
        if hasattr(sys.stdin, "reconfigure"):
            sys.stdin.reconfigure(errors="replace")
        yield from sys.stdin
        return
    path = Path(log)
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            yield from file
    except OSError as error:
        raise UsageError(
            f"“{show_path(path)}” cannot be read: {error.strerror}.",
            hint="Name a log file, or `-` for stdin.",
            path=show_path(path),
        ) from error


def _no_looks(log: str, found: "Replay") -> UsageError:
    damaged = "".join(f" Line {flaw.number} {flaw.reason}." for flaw in found.unreadable[:3])
    hint = (
        "Give it the JSON lines of `stackwatch run` (level info or debug): `[logs] file`, or "
        "`stackwatch logs --raw --lines 0`."
    )
    return UsageError(
        f"“{show_path(log)}” has {found.lines} lines, and none tells of a look at an acquisition."
        f"{damaged} {hint}",
        hint=hint,
        path=show_path(log),
    )


def _record(found: "Replay", acquisition: str | None) -> dict[str, Any]:
    steps = [
        _step_record(step)
        for step in found.steps
        if acquisition
        in (None, step.look.acquisition, f"{step.look.folder}/{step.look.acquisition}")
    ]
    return {
        "status": "same" if found.is_clean else "different",
        "looks": steps,
        "impossible": [{"line": flaw.number, "reason": flaw.reason} for flaw in found.impossible],
        "unreadable": [{"line": flaw.number, "reason": flaw.reason} for flaw in found.unreadable],
        "lines": found.lines,
        "skipped": found.skipped,
    }


def _is_meant(step: "Step", acquisition: str | None) -> bool:
    look = step.look
    return acquisition in (None, look.acquisition, f"{look.folder}/{look.acquisition}")


def _step_record(step: "Step") -> dict[str, Any]:
    look = step.look
    return {
        "line": step.number,
        "run": step.run,
        "elapsed_s": round(step.elapsed_s, 3),
        "folder": look.folder,
        "acquisition": look.acquisition,
        "files": look.files,
        "total_bytes": look.total_bytes,
        "stat_mark": look.stat_mark,
        "vetoes": [veto.reason for veto in look.vetoes],
        "then": {"phase": look.phase, "actions": list(look.actions)},
        "now": {"phase": step.phase_now, "actions": list(step.actions_now)},
        "is_same": step.is_same,
    }


def _describe(record: Mapping[str, Any]) -> str:
    lines: list[str] = []
    run = 0
    for look in record["looks"]:
        if look["run"] != run:
            run = look["run"]
            lines.append(f"start {run} of the service")
        lines += _describe_look(look)
    lines += [f"IMPOSSIBLE, line {flaw['line']}: {flaw['reason']}" for flaw in record["impossible"]]
    lines += [f"line {flaw['line']} {flaw['reason']}" for flaw in record["unreadable"]]
    different = sum(not look["is_same"] for look in record["looks"])
    told = f"{different} decided otherwise now" if different else "all decided now as then"
    lines += ["", f"{len(record['looks'])} looks in {record['lines']} lines: {told}"]
    return "\n".join(lines)


def _describe_look(look: Mapping[str, Any]) -> list[str]:
    head = (
        f"  +{look['elapsed_s']:.3f} s  {look['folder']}/{look['acquisition']}  "
        f"{look['files']} files  {look['stat_mark'] or '-'}  {_decision(look['then'])}"
    )
    lines = [head, *(f"      not ready: {reason}" for reason in look["vetoes"])]
    if not look["is_same"]:
        lines.append(f"      NOW (line {look['line']}): {_decision(look['now'])}")
    return lines


def _decision(decided: Mapping[str, Any]) -> str:
    actions = ", ".join(decided["actions"])
    return f"{decided['phase']}{f' → {actions}' if actions else ''}"
