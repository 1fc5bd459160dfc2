"""The notice process: tells receivers in the daemon's place, and may wait for them.

It reads the addresses of mail and chat services, which the daemon never holds, sends once, and
ends. It may be killed at any moment: what no answer was recorded for is sent again.
"""

import os
import sys

from stackwatch.daemon.channel import Channel
from stackwatch.daemon.child import connect_to_daemon
from stackwatch.daemon.wire import dump_record, load_record
from stackwatch.model.notice import Notice, ReceiverOptions


def serve(channel: Channel) -> None:
    """Send what the daemon asks for, telling each answer as it comes."""
    from stackwatch.notices.sending import send_notices

    message = channel.receive()
    if message is None:
        return
    options = load_record(ReceiverOptions, message["receivers"])
    notices = [load_record(Notice, one) for one in message["notices"]]
    for answer in send_notices(options, notices, message["deadline_s"]):
        channel.send({"kind": "answer", "answer": dump_record(answer)})
    channel.send({"kind": "end"})


def main() -> int:
    """Serve the daemon that started us."""
    serve(connect_to_daemon(sys.argv[1:]))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a receiver that hangs holds a thread of ours
