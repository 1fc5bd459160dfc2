"""What becomes of an acquisition's files after its dataset was published."""

from enum import StrEnum


class DisposalAction(StrEnum):
    """What is done with the files."""

    ARCHIVE = "archive"
    DELETE = "delete"


class DisposalState(StrEnum):
    """Where a disposal stands."""

    DUE = "due"
    """It waits for the end of the retention; nothing was touched."""
    RUNNING = "running"
    """It was begun, and is taken up again after a crash."""
    DONE = "done"
    REFUSED = "refused"
    """The files are kept, and a person may look why."""


DISPOSAL_TRANSITIONS: dict[DisposalState, frozenset[DisposalState]] = {
    DisposalState.DUE: frozenset({DisposalState.RUNNING, DisposalState.REFUSED}),
    DisposalState.RUNNING: frozenset(
        {DisposalState.DONE, DisposalState.REFUSED, DisposalState.DUE}
    ),
    DisposalState.REFUSED: frozenset({DisposalState.DUE}),
    DisposalState.DONE: frozenset(),
}
"""`running` is committed before the first file is touched. It goes back to `due` only if nothing
was touched, or all of it was put back. `refused` is looked at anew when the service starts or
reads its settings again."""
