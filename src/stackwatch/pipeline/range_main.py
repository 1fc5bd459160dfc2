"""A process that carries out ranges for the conversion that started it.

It takes a line of JSON for each range and answers with one; the end of its input ends it at once,
whatever it is doing: its conversion is gone.
"""

import json
import os
import queue
import signal
import sys
import threading
from typing import Any, NoReturn


def main() -> NoReturn:
    """Serve until the conversion is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl+C is for the conversion
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever else is printed must not look like an answer
    asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    while True:
        message = asked.get()
        print(json.dumps(_answer(message)), file=answers, flush=True)


def _listen(asked: "queue.SimpleQueue[dict[str, Any]]") -> None:
    for line in sys.stdin:
        asked.put(json.loads(line))
    os._exit(1)


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    from stackwatch.errors import StackwatchError, UnexpectedError, WorkerKilledError
    from stackwatch.pipeline.ranges import run_range

    try:
        return {"receipt": run_range(message["order"], message["number"])}
    except StackwatchError as error:
        return {"error": error.as_record()}
    except MemoryError:
        hint = "Lower `processes` or `memory_gib`, or add memory."
        killed = WorkerKilledError(
            f"A range of slices asked for far more memory than it was given. {hint}", hint=hint
        )
        return {"error": killed.as_record()}
    except Exception as error:  # noqa: BLE001 - whatever it is, the conversion must hear of it
        surprise = UnexpectedError(f"{type(error).__name__}: {error}")
        return {"error": surprise.as_record()}


if __name__ == "__main__":
    main()
