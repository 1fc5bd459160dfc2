"""The disposal process: verifies datasets, then archives or deletes the acquisition they show.

It touches targets, drop folders and archives, any of which may hang, and may be killed at any
moment. It touches no file before the daemon has committed that it may.
"""

import sys
from pathlib import Path
from typing import Any

from stackwatch.daemon.channel import Channel
from stackwatch.daemon.child import connect_to_daemon
from stackwatch.daemon.wire import load_record
from stackwatch.errors import CancelledError, DisposalError, StackwatchError, UnexpectedError
from stackwatch.model.acquisition import show_path
from stackwatch.pipeline.dispose import Disposed, DisposeRequest, SourceDisposal
from stackwatch.pipeline.verify import verify_dataset


def serve(channel: Channel) -> None:
    """Do one disposal for the daemon: verify and begin, or go on after a crash."""
    message = channel.receive()
    if message is None:
        return
    try:
        if message["kind"] == "verify":
            channel.send({"kind": "verified", "runs": _verify(message["datasets"])})
            message = channel.receive()
            if message is None:
                return
        answer = _dispose(channel, message)
    except StackwatchError as error:
        answer = {"kind": "error", "error": error.as_record()}
    except Exception as error:  # noqa: BLE001 - whatever it is, the daemon must hear of it
        surprise = UnexpectedError(f"{type(error).__name__}: {error}")
        answer = {"kind": "error", "error": surprise.as_record()}
    channel.send(answer)


def _verify(datasets: list[list[str]]) -> list[str]:
    """Compare each dataset, from end to end, with its manifest; return their runs."""
    runs = []
    for path, run_id in datasets:
        found = verify_dataset(Path(path))["run_id"]
        if found != run_id:
            raise DisposalError(
                f"“{show_path(path)}” is not the dataset that was published there. The source is "
                "kept. Look at what happened to the dataset.",
                hint="Look at what happened to the dataset.",
                path=show_path(path),
            )
        runs.append(run_id)
    return runs


def _dispose(channel: Channel, message: dict[str, Any]) -> dict[str, Any]:
    request = load_record(DisposeRequest, message["request"])
    disposal = SourceDisposal(request, lambda path: _announce(channel, path))
    try:
        disposed = disposal.resume() if message["kind"] == "resume" else disposal.run()
    except StackwatchError as error:
        is_begun = disposal.is_begun
        return {"kind": "error", "error": error.as_record(), "is_begun": is_begun}
    return {"kind": "untouched"} if disposed is None else _describe(disposed)


def _describe(disposed: Disposed) -> dict[str, Any]:
    return {
        "kind": "done",
        "path": str(disposed.path) if disposed.path is not None else None,
        "files": disposed.files,
        "total_bytes": disposed.total_bytes,
    }


def _announce(channel: Channel, path: Path) -> None:
    """Return when the daemon has recorded where the files go."""
    channel.send({"kind": "archiving", "path": str(path)})
    answer = channel.receive()
    if answer is None or answer["kind"] != "recorded":
        raise CancelledError("The daemon has ended. It goes on at the next start.")


def main() -> int:
    """Serve the daemon that started us."""
    serve(connect_to_daemon(sys.argv[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
