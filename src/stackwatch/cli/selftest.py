"""`stackwatch selftest`: tell whether the deployed service makes a dataset of what is dropped."""

from typing import TYPE_CHECKING, Annotated

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering, say
from stackwatch.cli.options import ConfigOption, JsonFlag, SetOption
from stackwatch.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from stackwatch.cli.selftest_play import Verdict
    from stackwatch.settings import FolderSettings, Settings

_EPILOG = """\b
Examples:
  sudo stackwatch selftest --folder em1
  sudo stackwatch selftest --folder em1 --keep      leave all for a look
\b
Exit codes: 0 all is well, 75 it was parked, 1 anything else.
"""
_EXTRA_S = 180.0
_LONGEST_GAP_S = 300.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("selftest", epilog=_EPILOG)(answering(selftest))


def selftest(
    folder: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The drop folder to try. [default: the only one]"),
    ] = None,
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=1,
            help="Give up then. [default: two quiet gaps, two scans, and 180 s]",
        ),
    ] = None,
    is_kept: Annotated[
        bool, typer.Option("--keep", help="Leave acquisition and dataset where they are.")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> int:
    """Drop a small made-up acquisition into a drop folder and see what the service makes of it.

    It goes the way of all others: it settles, is converted, verified and published; then its
    voxels are compared with what was dropped, and both are removed again. It is never delivered to
    WEBKNOSSOS. It takes as long as the folder's quiet gap, and whoever runs it must be allowed to
    write into the drop folder and to remove from the target.
    """
    from stackwatch.cli.selftest_play import Play, refuse_folder
    from stackwatch.cli.signals import StopOnSignal
    from stackwatch.daemon.control import request
    from stackwatch.settings import load_settings

    settings = load_settings(config, assignments=assignments or ()).settings
    chosen = _choose(settings, folder)
    refuse_folder(chosen)
    request(settings.daemon.state_dir, {"command": "status"})  # a daemon must be there
    limit_s = timeout_s if timeout_s is not None else _limit_s(chosen)
    play = Play(chosen, settings.daemon.state_dir, say)
    say(f"Dropping {play.verdict.acquisition} into “{chosen.name}”; at most {limit_s:.0f} s.")
    with StopOnSignal() as stop:
        try:
            play.drop()
            play.wait(limit_s, stop.cancelled)
        finally:
            if not is_kept:
                play.clean_up()
    verdict = play.verdict
    if as_json:
        answer_json(verdict.as_record())
    else:
        answer_text(describe(verdict))
    if stop.cancelled.is_set():
        return stop.exit_code
    return _CODES[verdict.status]


_CODES = {
    "succeeded": ExitCode.DONE,
    "parked": ExitCode.PARKED,
    "failed": ExitCode.FAILED,
}


def describe(verdict: "Verdict") -> str:
    """Return the verdict for people."""
    lines = [f"NOT AS IT SHOULD BE: {problem}" for problem in verdict.problems]
    lines += [f"left behind, remove it yourself: {place}" for place in verdict.left]
    if verdict.status == "succeeded":
        took_s = max(verdict.steps.values())
        lines.append(f"“{verdict.folder}” works: dropped, converted and compared in {took_s:g} s.")
    else:
        lines.append(f"“{verdict.folder}” does not work. `stackwatch logs` tells more.")
    return "\n".join(lines)


def _choose(settings: "Settings", name: str | None) -> "FolderSettings":
    """Return the folder to try."""
    if name is None and len(settings.folder) == 1:
        return settings.folder[0]
    found = settings.folder_named(name) if name is not None else None
    if found is None:
        known = ", ".join(folder.name for folder in settings.folder) or "none"
        what = "Say which folder to try" if name is None else f"No folder is called “{name}”"
        hint = f"`--folder NAME`, one of: {known}."
        raise UsageError(f"{what}: {hint}", hint=hint)
    return found


def _limit_s(folder: "FolderSettings") -> float:
    gap_s = folder.quiet_gap_s if folder.quiet_gap_s is not None else _LONGEST_GAP_S
    return 2 * gap_s + 2 * folder.scan_interval_s + _EXTRA_S
