"""The worker process: converts one acquisition and reports to the daemon over a socket.

It is exec'ed, not forked, so that it shares no thread, lock or open file with the daemon. It dies
with the daemon, stops when the socket ends, and publishes nothing the daemon has not agreed to.
"""

import os
import resource
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stackwatch.daemon.channel import Channel
from stackwatch.daemon.child import connect_to_daemon
from stackwatch.daemon.child_speech import describe_unexpected, log_like_the_daemon
from stackwatch.daemon.wire import load_record
from stackwatch.daemon.worker_journal import DaemonJournal
from stackwatch.errors import (
    StackwatchError,
    TargetExistsError,
    WorkerKilledError,
)
from stackwatch.failpoints import reach
from stackwatch.model.acquisition import show_path
from stackwatch.model.result import ConvertResult
from stackwatch.pipeline.journal import Journal, PublishFact
from stackwatch.pipeline.request import ConvertRequest, place_datasets

MEMORY_TIMES = 4.0
MEMORY_BESIDE_GIB = 4.0
"""A worker may hold its budget so many times, and so much beside it, before it is refused more."""

Convert = Callable[[ConvertRequest, Journal, threading.Event], ConvertResult]
Digest = Callable[[ConvertRequest], str]
TakePictures = Callable[[Path, Sequence[PublishFact]], None]


def serve(
    channel: Channel, convert: Convert, digest: Digest, take_pictures: TakePictures | None = None
) -> int:
    """Take one request from the daemon, carry it out, report, and return an exit code.

    Parameters
    ----------
    channel : Channel
    convert : callable
        `pipeline.convert.convert_acquisition`, or a stand-in in tests.
    digest : callable
        `pipeline.compare.digest_acquisition`, or a stand-in in tests.
    take_pictures : callable or None
        `picture_taking.take_pictures`.
    """
    message = channel.receive()
    if message is None:
        return 1
    log_like_the_daemon(message.get("logs", {}), message.get("bound", {}))
    journal = DaemonJournal(channel)
    journal.start()
    if message.get("task") == "digest":
        outcome = _report(lambda request: {"content_digest": digest(request)}, message)
    elif message.get("task") == "inspect":
        outcome = _report(inspect_request, message)
    else:
        reach("worker.started")
        limit_memory(message["request"]["options"]["resources"]["memory_gib"])
        outcome = _report(
            lambda request: convert(request, journal, journal.cancelled).as_record(), message
        )
    journal.end()
    try:
        channel.send(outcome)
    except OSError:
        return 1
    if take_pictures is not None and message.get("state_dir"):
        # the word is spoken: whatever becomes of the pictures, the job has its result
        take_pictures(Path(message["state_dir"]), journal.published)
    return 0


def inspect_request(request: ConvertRequest) -> dict[str, Any]:
    """Return what a conversion would do, without writing anything.

    Raises
    ------
    TargetExistsError
        There is something at the target that this conversion may not replace.
    """
    from stackwatch.pipeline.inspect import inspect_acquisition

    found = inspect_acquisition(request.source, request.options, request.members)
    for place in place_datasets(request.target, found.scenes) if found.error is None else ():
        is_expected = request.replaceable_run(place) or request.kept_run(place)
        if os.path.lexists(place) and not is_expected:
            hint = "Remove or rename it, or choose another `dataset_name`."
            raise TargetExistsError(
                f"“{show_path(place)}” exists and was not written by this job. {hint}",
                hint=hint,
                path=show_path(place),
            )
    return found.record


def _report(
    carry_out: Callable[[ConvertRequest], dict[str, Any]], message: dict[str, Any]
) -> dict[str, Any]:
    """Return the result or the error as the last message of this worker."""
    try:
        result = carry_out(load_record(ConvertRequest, message["request"]))
    except StackwatchError as error:
        return {"kind": "error", "error": error.as_record()}
    except MemoryError:
        return {"kind": "error", "error": _out_of_memory().as_record()}
    except Exception as error:  # noqa: BLE001 - whatever it is, the daemon must hear of it
        return {"kind": "error", "error": describe_unexpected(error).as_record()}
    return {"kind": "result", "result": result}


def limit_memory(memory_gib: float | None) -> None:
    """Let this process fail, not the machine, where a file makes a library ask for too much.

    What the engine plans stays far below; mapped files do not count.
    """
    if memory_gib is None:
        return
    wanted = int((MEMORY_TIMES * memory_gib + MEMORY_BESIDE_GIB) * (1 << 30))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _out_of_memory() -> WorkerKilledError:
    hint = "Lower `memory_gib` or `workers` under `[daemon]`, or add memory."
    return WorkerKilledError(
        "The conversion asked for far more memory than it was given. It is tried again with half "
        f"the memory and one thread. {hint}",
        hint=hint,
    )


def main() -> int:
    """Serve one request of the daemon that started us."""
    channel = connect_to_daemon(sys.argv[1:])
    from stackwatch.daemon.picture_taking import take_pictures
    from stackwatch.pipeline.compare import digest_acquisition
    from stackwatch.pipeline.convert import convert_acquisition

    return serve(channel, convert_acquisition, digest_acquisition, take_pictures)


if __name__ == "__main__":
    sys.exit(main())
