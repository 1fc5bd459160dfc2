"""Send to every receiver at the same time: none waits for another, and none is waited for long."""

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from stackwatch.model.notice import Notice, ReceiverAnswer, ReceiverOptions
from stackwatch.notices.services import Service, load_services, send_to_service
from stackwatch.notices.webhook import describe_webhook, post_webhook, receiver_id
from stackwatch.notices.wording import Message, write_message, write_test

DEADLINE_S: Final = 40.0
"""Who has not answered by then counts as not reached."""

FILE_RECEIVER: Final = "file"
"""Stands for the addresses of a file that cannot be read."""

Send = Callable[[Message], ReceiverAnswer]


def send_notices(
    options: ReceiverOptions, notices: Sequence[Notice], deadline_s: float = DEADLINE_S
) -> Iterator[ReceiverAnswer]:
    """Tell every receiver what it has not been told yet, and yield what each answered.

    Parameters
    ----------
    options : ReceiverOptions
    notices : sequence of Notice
        Oldest first.
    deadline_s : float
        For all together.

    Yields
    ------
    ReceiverAnswer
        One for each receiver, as they come; also for those that had nothing to be told.
    """
    host, now_us = socket.gethostname(), time.time_ns() // 1000

    def choose(receiver: str) -> tuple[Message | None, tuple[int, ...]]:
        wanted = [one for one in notices if receiver not in one.reached]
        message = write_message(wanted, host, now_us) if wanted else None
        return message, tuple(one.notice_id for one in wanted)

    yield from _send_all(options, choose, deadline_s)


def send_test(options: ReceiverOptions, deadline_s: float = DEADLINE_S) -> Iterator[ReceiverAnswer]:
    """Send a test to every receiver, and yield what each answered."""
    message = write_test(socket.gethostname(), time.time_ns() // 1000)
    yield from _send_all(options, lambda _receiver: (message, ()), deadline_s)


def _send_all(
    options: ReceiverOptions,
    choose: Callable[[str], tuple[Message | None, tuple[int, ...]]],
    deadline_s: float,
) -> Iterator[ReceiverAnswer]:
    receivers: dict[str, tuple[str, Send]] = {
        receiver_id(url): (describe_webhook(url), _webhook(url)) for url in options.webhooks
    }
    if options.apprise_file is not None:
        services, complaint = load_services(options.apprise_file)
        if complaint:
            yield ReceiverAnswer(FILE_RECEIVER, "apprise_file", is_reached=False, reason=complaint)
        receivers |= {one.receiver: (one.name, _service(one)) for one in services}
    answers: queue.SimpleQueue[ReceiverAnswer] = queue.SimpleQueue()
    waited_for: dict[str, ReceiverAnswer] = {}
    for receiver, (name, send) in receivers.items():
        message, ids = choose(receiver)
        if message is None:
            yield ReceiverAnswer(receiver, name, is_reached=True, reason="told before")
            continue
        reason = f"no answer within {deadline_s:g} s"
        late = ReceiverAnswer(receiver, name, is_reached=False, reason=reason, notices=ids)
        waited_for[receiver] = late
        work = (send, message, late, answers)
        threading.Thread(target=_send_one, args=work, name="sender", daemon=True).start()
    end_s = time.monotonic() + deadline_s
    while waited_for:
        try:
            answer = answers.get(timeout=max(0.0, end_s - time.monotonic()))
        except queue.Empty:
            break
        del waited_for[answer.receiver]
        yield answer
    yield from waited_for.values()


def _webhook(url: str) -> Send:
    return lambda message: post_webhook(url, message.document)


def _service(one: Service) -> Send:
    return lambda message: send_to_service(one, message)


def _send_one(
    send: Send,
    message: Message,
    late: ReceiverAnswer,
    answers: "queue.SimpleQueue[ReceiverAnswer]",
) -> None:
    answer = send(message)
    answers.put(
        ReceiverAnswer(late.receiver, late.name, answer.is_reached, answer.reason, late.notices)
    )
