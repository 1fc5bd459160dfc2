"""How commands answer: one JSON document or text on stdout, everything else on stderr."""

import errno
import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, ParamSpec

from stackwatch.errors import CancelledError, ExitCode, StackwatchError, UnexpectedError
from stackwatch.model.wording import SCHEMA

P = ParamSpec("P")

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def answering(command: Callable[P, int | None]) -> Callable[P, None]:
    """Turn a command's return value, or its error, into an exit code and an answer.

    A command returns an exit code, or None for 0. Errors of ours become message and hint on
    stderr; with `as_json` they are a document on stdout too. Nobody sees a traceback for a
    mistake that is not ours.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            code = command(*args, **kwargs)
        except StackwatchError as error:
            code = answer_error(error, as_json=as_json)
        except KeyboardInterrupt:
            say("Interrupted.")
            code = ExitCode.INTERRUPTED
        except Exception as error:  # noqa: BLE001 - a bug of ours: show all we know of it
            code = _answer_bug(error, as_json=as_json)
        raise SystemExit(code or ExitCode.DONE)

    return run


def answer_json(record: Mapping[str, Any]) -> None:
    """Print the one document of a `--json` answer."""
    answer_text(json.dumps({"schema": SCHEMA, **record}, indent=2, ensure_ascii=False))


def answer_text(text: str) -> None:
    """Print text to stdout; a reader that went away does not matter, but a full disk does."""
    error = _print(text, sys.stdout)
    if error is not None and error.errno in _NO_ROOM:
        refuse_answer(error)


def refuse_answer(error: OSError) -> NoReturn:
    """End because what was asked for could not be written."""
    _forget(sys.stdout)
    say(f"Error: The answer could not be written: {error.strerror}.")
    raise SystemExit(ExitCode.FAILED)


def say(text: str) -> None:
    """Tell a person something on stderr, beside the answer."""
    _print(text, sys.stderr)


def answer_error(error: StackwatchError, *, as_json: bool) -> int:
    """Show an error and return its exit code."""
    code = exit_code_of(error)
    if as_json:
        answer_json(error_record(error))
    head = "Parked" if code == ExitCode.PARKED else "Error"
    say(f"{head}: {error.message}")
    if error.hint and error.hint not in error.message:
        say(f"Hint: {error.hint}")
    return code


def exit_code_of(error: StackwatchError) -> int:
    """Return the exit code of an error; one that stops on a signal tells which."""
    if isinstance(error, CancelledError):
        return int(error.values.get("exit_code", ExitCode.INTERRUPTED))
    return error.exit_code


def error_record(error: StackwatchError) -> dict[str, Any]:
    """Return an error as the document of docs/json.md."""
    is_parked = exit_code_of(error) == ExitCode.PARKED
    return {"status": "parked" if is_parked else "failed", **error.as_record()}


def _answer_bug(error: Exception, *, as_json: bool) -> int:
    import traceback

    say(traceback.format_exc())
    unexpected = UnexpectedError(
        f"{type(error).__name__}: {error}. This is a mistake in stackwatch. Please report it with "
        "the lines above.",
        hint="Report it with the lines above.",
    )
    return answer_error(unexpected, as_json=as_json)


def _print(text: str, stream: Any) -> OSError | None:
    """Print text, and return why it could not be written."""
    if stream is None:  # closed by whoever started us
        return None
    try:
        stream.write(text + "\n")
        stream.flush()
    except (OSError, ValueError) as error:
        _forget(stream)
        return error if isinstance(error, OSError) else None
    return None


def _forget(stream: Any) -> None:
    """Point a broken stream at nothing, so that the interpreter's last flush cannot fail."""
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is wanted
            os.dup2(nowhere.fileno(), stream.fileno())
    except (OSError, ValueError):  # the stream has no descriptor any more
        return
