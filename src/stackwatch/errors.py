"""The errors of stackwatch: one tree, each with a code, a disposition and a hint.

::

    StackwatchError
    ├── ConfigError (ValueError)                 exit 78, lists every problem
    ├── UsageError (ValueError)                  exit 2
    ├── AcquisitionError
    │   ├── StillArrivingError                   wait
    │   ├── IncompleteAcquisitionError           park: waits for the rest, or a person
    │   ├── SidecarError (ValueError)            park, names the line
    │   ├── ChangedDuringConversionError         retry, from the start
    │   └── VanishedError (FileNotFoundError)    park
    ├── LayoutError
    │   ├── UnknownLayoutError                   park
    │   ├── AmbiguousLayoutError                 park
    │   ├── MissingSlicesError                   park (policy may pad)
    │   └── MixedSlicesError                     park
    ├── ReadError (OSError)
    │   ├── UnsupportedFormatError               park
    │   ├── CorruptSliceError                    retry once, then park
    │   ├── SourceUnreadableError                retry
    │   ├── MissingMetadataError                 park
    │   └── ConflictingMetadataError             park
    ├── PlanError (ValueError)
    │   ├── UnsupportedVoxelTypeError            park
    │   └── BudgetTooSmallError                  park
    ├── WriteError (OSError)
    │   ├── TargetExistsError                    park
    │   ├── TargetNotWritableError               retry; exit 73
    │   ├── OutOfSpaceError                      wait; exit 73
    │   └── VerificationError                    retry, keep the evidence
    ├── DisposalError                            park: the source stays where it is
    ├── LedgerError
    │   ├── LedgerInUseError                     exit 69: another daemon
    │   ├── LedgerTooNewError                    exit 69: newer schema
    │   ├── LedgerUnwritableError                wait: its disk is full or read-only
    │   ├── NoDaemonError                        exit 69: nobody listens
    │   └── IllegalTransitionError               a bug of ours; park and shout
    ├── DeliveryError
    │   ├── DeliveryUnavailableError             retry, backing off
    │   ├── DeliveryUnauthorizedError            wait: all uploads pause until a token is taken
    │   └── DeliveryRefusedError                 park
    ├── ClusterError                             retry, backing off
    ├── CancelledError                           retry: stopped on request
    ├── WorkerKilledError                        retry smaller, then park
    ├── StalledError                             retry, then park: no progress for long
    ├── LimitExceededError                       park (zip bomb, absurd size)
    ├── UnexpectedError                          retry, then park: a bug of ours
    └── MissingExtraError (ImportError)          park, names the pip line

A message says what happened (with the values), what it means, and what to do now.
`hint` repeats the "what to do now" alone, for the places that have room for one line.
"""

from enum import StrEnum
from typing import Any, ClassVar, Self


class Disposition(StrEnum):
    """What the daemon does with a job that failed: it obeys this, it never looks at types."""

    RETRY = "retry"
    WAIT = "wait"
    PARK = "park"


class ExitCode:
    """Exit codes of the command line, after sysexits where one fits."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 69
    CANNOT_WRITE = 73
    PARKED = 75
    CONFIG = 78
    INTERRUPTED = 130
    TERMINATED = 143


class StackwatchError(Exception):
    """Something went wrong in stackwatch.

    Parameters
    ----------
    message : str
        What happened, what it means, what to do now. Defaults to the docstring's first line.
    hint : str
        What to do now, alone.
    **values
        The facts of the case (path, slice number, sizes), kept as `values` and shown in JSON;
        each must be a str, int, float, bool, None, or a list of these.
    """

    code: ClassVar[str] = "error"
    disposition: ClassVar[Disposition] = Disposition.PARK
    exit_code: ClassVar[int] = ExitCode.FAILED
    max_attempts: ClassVar[int | None] = None
    """How often a retry makes sense for this error; None leaves it to the retry policy."""

    def __init__(self, message: str = "", *, hint: str = "", **values: Any) -> None:
        self.message = message or (self.__doc__ or self.code).splitlines()[0]
        self.hint = hint
        self.values = values
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.values))

    def as_record(self) -> dict[str, Any]:
        """Return the error as plain JSON values, as it crosses a process boundary."""
        return {
            "error_code": self.code,
            "message": self.message,
            "hint": self.hint,
            "disposition": str(self.disposition),
            "values": self.values,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "StackwatchError":
        """Rebuild an error of the right class from `as_record`'s values."""
        kind = error_by_code().get(str(record.get("error_code")), UnexpectedError)
        return _rebuild(
            kind,
            str(record.get("message", "")),
            str(record.get("hint", "")),
            dict(record.get("values", {})),
        )


def _rebuild(
    kind: type[StackwatchError], message: str, hint: str, values: dict[str, Any]
) -> StackwatchError:
    return kind(message, hint=hint, **values)


def error_by_code() -> dict[str, type[StackwatchError]]:
    """Return every error class by its code."""
    found: dict[str, type[StackwatchError]] = {}
    queue: list[type[StackwatchError]] = [StackwatchError]
    while queue:
        kind = queue.pop()
        found[kind.code] = kind
        queue.extend(kind.__subclasses__())
    return found


class ConfigError(StackwatchError, ValueError):
    """The configuration has mistakes.

    `problems` lists all of them, each with its place in the file.
    """

    code = "config"
    exit_code = ExitCode.CONFIG

    @property
    def problems(self) -> list[str]:
        """Every mistake found, each a sentence with its key path."""
        return list(self.values.get("problems", []))

    @classmethod
    def from_problems(cls, source: str, problems: list[str]) -> Self:
        """Build the one error that reports all `problems` of `source` at once."""
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  - {problem}" for problem in problems)
        return cls(
            f"{count} in {source}:\n{lines}",
            hint="Mend the settings and run `stackwatch config check` again.",
            problems=problems,
        )


class UsageError(StackwatchError, ValueError):
    """The command was called in a way that cannot work."""

    code = "usage"
    exit_code = ExitCode.USAGE


class AcquisitionError(StackwatchError):
    """Something is wrong with the acquisition as a whole."""

    code = "acquisition"
    exit_code = ExitCode.PARKED


class StillArrivingError(AcquisitionError):
    """The acquisition is not complete yet."""

    code = "still_arriving"
    disposition = Disposition.WAIT


class IncompleteAcquisitionError(AcquisitionError):
    """The acquisition says itself that more belongs to it, or that it was aborted."""

    code = "incomplete"


class SidecarError(AcquisitionError, ValueError):
    """The acquisition's `stackwatch.toml` has mistakes."""

    code = "sidecar"


class ChangedDuringConversionError(AcquisitionError):
    """The acquisition changed while it was read; the conversion starts anew."""

    code = "changed_during_conversion"
    disposition = Disposition.RETRY
    exit_code = ExitCode.FAILED


class VanishedError(AcquisitionError, FileNotFoundError):
    """The acquisition is not there any more."""

    code = "vanished"


class LayoutError(StackwatchError):
    """The files do not form a layout that can be converted."""

    code = "layout"
    exit_code = ExitCode.PARKED


class UnknownLayoutError(LayoutError):
    """No layout fits the files."""

    code = "unknown_layout"


class AmbiguousLayoutError(LayoutError):
    """More than one layout fits the files."""

    code = "ambiguous_layout"


class MissingSlicesError(LayoutError):
    """Slices are missing from the numbering."""

    code = "missing_slices"


class MixedSlicesError(LayoutError):
    """The slices of one stack differ in size, type or channels."""

    code = "mixed_slices"


class ReadError(StackwatchError, OSError):
    """A file could not be read as an image."""

    code = "read"
    exit_code = ExitCode.PARKED


class UnsupportedFormatError(ReadError):
    """The file's format, or a feature of it, is not supported."""

    code = "unsupported_format"


class CorruptSliceError(ReadError):
    """A slice is damaged or was not written completely."""

    code = "corrupt_slice"
    disposition = Disposition.RETRY
    max_attempts = 2


class SourceUnreadableError(ReadError):
    """The disk or the share that holds the source gives an error."""

    code = "source_unreadable"
    disposition = Disposition.RETRY
    exit_code = ExitCode.FAILED


class MissingMetadataError(ReadError):
    """A fact that the conversion needs stands in no file and no setting."""

    code = "missing_metadata"


class ConflictingMetadataError(ReadError):
    """Two places state different values for the same fact."""

    code = "conflicting_metadata"


class PlanError(StackwatchError, ValueError):
    """The conversion cannot be planned."""

    code = "plan"
    exit_code = ExitCode.PARKED


class UnsupportedVoxelTypeError(PlanError):
    """WEBKNOSSOS has no layer for this voxel type."""

    code = "unsupported_voxel_type"


class BudgetTooSmallError(PlanError):
    """The memory budget is too small for even the smallest unit of work."""

    code = "budget_too_small"


class WriteError(StackwatchError, OSError):
    """The dataset could not be written."""

    code = "write"
    disposition = Disposition.RETRY


class TargetExistsError(WriteError):
    """The target exists already and was not written by this job."""

    code = "target_exists"
    disposition = Disposition.PARK
    exit_code = ExitCode.PARKED


class TargetNotWritableError(WriteError):
    """The target folder cannot be written to."""

    code = "target_not_writable"
    exit_code = ExitCode.CANNOT_WRITE


class OutOfSpaceError(WriteError):
    """The target's disk has too little room."""

    code = "out_of_space"
    disposition = Disposition.WAIT
    exit_code = ExitCode.CANNOT_WRITE


class VerificationError(WriteError):
    """What lies on the disk is not what was written, or not what the source holds."""

    code = "verification"


class DisposalError(StackwatchError):
    """An acquisition cannot be archived or deleted; it is kept."""

    code = "disposal"


class LedgerError(StackwatchError):
    """The ledger cannot be used."""

    code = "ledger"
    exit_code = ExitCode.UNAVAILABLE


class LedgerInUseError(LedgerError):
    """Another stackwatch holds the ledger."""

    code = "ledger_in_use"


class LedgerTooNewError(LedgerError):
    """The ledger was written by a newer stackwatch."""

    code = "ledger_too_new"


class LedgerUnwritableError(LedgerError):
    """The ledger's disk takes no writes at present."""

    code = "ledger_unwritable"
    disposition = Disposition.WAIT


class NoDaemonError(LedgerError):
    """No daemon listens on this state directory."""

    code = "no_daemon"


class IllegalTransitionError(LedgerError):
    """A state change that the transition table does not allow: a bug of ours."""

    code = "illegal_transition"
    exit_code = ExitCode.FAILED


class DeliveryError(StackwatchError):
    """The dataset could not be delivered to WEBKNOSSOS."""

    code = "delivery"


class DeliveryUnavailableError(DeliveryError):
    """The server does not answer."""

    code = "delivery_unavailable"
    disposition = Disposition.RETRY


class DeliveryUnauthorizedError(DeliveryError):
    """The server does not accept the token, or there is none."""

    code = "delivery_unauthorized"
    disposition = Disposition.WAIT
    exit_code = ExitCode.PARKED


class DeliveryRefusedError(DeliveryError):
    """The server refused the dataset."""

    code = "delivery_refused"
    exit_code = ExitCode.PARKED


class ClusterError(StackwatchError):
    """The workers that were to convert cannot be reached, or were lost again and again."""

    code = "cluster"
    disposition = Disposition.RETRY


class CancelledError(StackwatchError):
    """The conversion was stopped on request."""

    code = "cancelled"
    disposition = Disposition.RETRY
    exit_code = ExitCode.INTERRUPTED


class WorkerKilledError(StackwatchError):
    """The conversion's process ended without a word."""

    code = "worker_killed"
    disposition = Disposition.RETRY
    max_attempts = 3


class StalledError(StackwatchError):
    """The conversion made no progress for so long that it was ended."""

    code = "stalled"
    disposition = Disposition.RETRY
    max_attempts = 3


class LimitExceededError(StackwatchError):
    """A declared size is beyond the limits that protect this machine."""

    code = "limit_exceeded"
    exit_code = ExitCode.PARKED


class UnexpectedError(StackwatchError):
    """Something happened that stackwatch has no name for: a bug of ours."""

    code = "unexpected"
    disposition = Disposition.RETRY
    max_attempts = 3


class MissingExtraError(StackwatchError, ImportError):
    """A library for this format is not installed."""

    code = "missing_extra"
    exit_code = ExitCode.PARKED
