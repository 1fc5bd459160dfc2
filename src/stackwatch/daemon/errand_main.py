"""The errand process: touches a target in the daemon's place, so that the daemon never hangs.

It does one thing after another, and may be killed at any moment.
"""

import importlib
import sys
from typing import Any, get_type_hints

from stackwatch.daemon.channel import Channel
from stackwatch.daemon.child import connect_to_daemon
from stackwatch.daemon.wire import dump_record, load_record


def serve(channel: Channel) -> None:
    """Do what the daemon asks for, until it is gone."""
    for message in channel.iter_messages():
        try:
            answer = {"answer": _carry_out(message)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the daemon must hear of it
            answer = {"error": f"{type(error).__name__}: {error}"}
        try:
            channel.send(answer)
        except OSError:
            return


def _carry_out(message: dict[str, Any]) -> Any:
    """Call the function of ours that the daemon names."""
    module, _, name = message["work"].partition(":")
    work = getattr(importlib.import_module(module), name)
    (question,) = (hint for key, hint in get_type_hints(work).items() if key != "return")
    return dump_record(work(load_record(question, message["question"])))


def main() -> int:
    """Serve the daemon that started us."""
    serve(connect_to_daemon(sys.argv[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
