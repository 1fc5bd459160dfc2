"""A delivery process with a stand-in for the server: quick, and as strict about recording.

Tests of the daemon start it in the place of the real one, and tell it by the name of the dataset
what shall happen. What it delivers is written to a file `delivered` beside the datasets, a line for
each.

- `down`: the server does not answer, as long as there is a file `down` beside the datasets
- `expired`: the server's certificate is, as long as there is a file `expired` beside the datasets
- `token`: the token is refused, unless its file says `good`
- `refused`: the server refuses the dataset
- `crash`: the process is killed
- `hang`: it sends and sends, until it is asked to stop
"""

import os
import signal
import sys
from pathlib import Path

from stackwatch.daemon.child import connect_to_daemon
from stackwatch.daemon.delivery_main import serve
from stackwatch.errors import (
    CancelledError,
    DeliveryRefusedError,
    DeliveryUnauthorizedError,
    DeliveryUnavailableError,
)
from stackwatch.model.delivery import (
    Delivered,
    DeliveryProgress,
    DeliveryRequest,
    UploadRecord,
)
from stackwatch.pipeline.delivery_journal import FOR_ALL, DeliveryJournal


def deliver(request: DeliveryRequest, journal: DeliveryJournal) -> Delivered:
    """Do as the dataset's name says."""
    name, beside = request.dataset.name, request.dataset.parent
    journal.record(UploadRecord("planned", request.kind, upload_id=f"u-{name}"))
    if (beside / "down").exists() and not name.startswith("refused"):
        raise DeliveryUnavailableError("The server does not answer.", hint="Nothing.")
    if (beside / "expired").exists():
        told = {FOR_ALL: True}
        raise DeliveryRefusedError("The certificate expired.", hint="A new one.", **told)
    if name.startswith("token") and Path(request.server.token_file).read_text() != "good":
        raise DeliveryUnauthorizedError("The token is not taken.", hint="Another one.")
    if name.startswith("refused"):
        raise DeliveryRefusedError("The quota is exceeded.", hint="Make room.")
    journal.record(UploadRecord("sending", request.kind, upload_id=f"u-{name}", remote_id=name))
    if name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("hang"):
        journal.progress(DeliveryProgress("sending", 1, 9))
        journal.cancelled.wait()
        raise CancelledError("Stopped on request.")
    journal.record(UploadRecord("finishing", request.kind, upload_id=f"u-{name}", remote_id=name))
    with (beside / "delivered").open("a") as file:
        file.write(" ".join([name, request.run_id, *request.supersedes]) + "\n")
    journal.record(UploadRecord("finished", request.kind, upload_id=f"u-{name}", remote_id=name))
    return Delivered(name, f"{request.server.url}/datasets/{name}", name, 100, 2.0)


if __name__ == "__main__":
    sys.exit(serve(connect_to_daemon(sys.argv[1:]), deliver))
