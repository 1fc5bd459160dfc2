"""How commands answer: documents, sentences and exit codes."""

import json
import subprocess
import sys

import pytest

from stackwatch.cli.answers import answer_json, answering, error_record
from stackwatch.errors import (
    CancelledError,
    ConfigError,
    ExitCode,
    MissingSlicesError,
    OutOfSpaceError,
    StackwatchError,
    UsageError,
    error_by_code,
)


def run(error: BaseException | None, *, as_json: bool = False) -> int:
    """Run a command that ends with `error` and return its exit code."""

    @answering
    def command(as_json: bool = False) -> None:
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as ended:
        command(as_json=as_json)
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, ExitCode.DONE),
        (UsageError("x"), ExitCode.USAGE),
        (ConfigError("x"), ExitCode.CONFIG),
        (MissingSlicesError("x"), ExitCode.PARKED),
        (OutOfSpaceError("x"), ExitCode.CANNOT_WRITE),
        (CancelledError("x"), ExitCode.INTERRUPTED),
        (CancelledError("x", exit_code=ExitCode.TERMINATED), ExitCode.TERMINATED),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (RuntimeError("x"), ExitCode.FAILED),
    ],
)
def test_every_end_has_its_exit_code(error: BaseException | None, code: int):
    """A command ends with the code of its error, 0 without one, 1 for a bug of ours."""
    assert code == run(error)


def test_an_error_is_message_and_hint_on_stderr(capsys: pytest.CaptureFixture[str]):
    """People see what happened and what to do, no traceback, and stdout stays empty."""
    run(MissingSlicesError("Slice 4 is missing.", hint="Copy it in.", slices=[4]))
    shown = capsys.readouterr()

    assert "Parked: Slice 4 is missing.\nHint: Copy it in.\n" == shown.err
    assert not shown.out


def test_a_hint_that_the_message_holds_is_not_repeated(capsys: pytest.CaptureFixture[str]):
    """One sentence is enough."""
    run(UsageError("No such thing. Check the path.", hint="Check the path."))

    assert capsys.readouterr().err == "Error: No such thing. Check the path.\n"


def test_with_json_the_error_is_a_document(capsys: pytest.CaptureFixture[str]):
    """With --json, stdout gets one document with code, message, hint and the facts."""
    run(MissingSlicesError("Slice 4 is missing.", hint="Copy it in.", slices=[4]), as_json=True)

    assert {
        "schema": 1, "status": "parked", "error_code": "missing_slices", "disposition": "park",
        "message": "Slice 4 is missing.", "hint": "Copy it in.", "values": {"slices": [4]},
    } == json.loads(capsys.readouterr().out)  # fmt: skip


@pytest.mark.parametrize("kind", error_by_code().values(), ids=lambda kind: kind.code)
def test_status_is_parked_where_a_human_is_needed(kind: type[StackwatchError]):
    """`parked` and exit code 75 always go together."""
    error = kind("x")

    assert (error_record(error)["status"] == "parked") == (error.exit_code == ExitCode.PARKED)


def test_a_bug_shows_where_it_is(capsys: pytest.CaptureFixture[str]):
    """What is our mistake comes with the traceback, and as a document too."""
    run(RuntimeError("boom"), as_json=True)
    shown = capsys.readouterr()

    assert "Traceback" in shown.err
    assert json.loads(shown.out)["error_code"] == "unexpected"


def test_documents_hold_any_text(capsys: pytest.CaptureFixture[str]):
    """A document is strict JSON with the schema's version first."""
    answer_json({"name": "µm “x”"})

    assert ["schema", "name"] == list(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("text", ["'x' * 10", "'x' * 1_000_000"])
def test_a_reader_that_went_away_does_no_harm(text: str):
    """`stackwatch jobs list | head -1` ends well, however much was left to say."""
    code = f"from stackwatch.cli.answers import answer_text; answer_text({text})"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        errors = child.stderr.read()

    assert (0, b"") == (child.returncode, errors)
