"""The delivery process as it is, but one that waits a moment where the real one waits minutes."""

import sys

from stackwatch.daemon.child import connect_to_daemon
from stackwatch.daemon.delivery_main import serve
from stackwatch.model.delivery import Delivered, DeliveryRequest
from stackwatch.pipeline.deliver import deliver
from stackwatch.pipeline.delivery_journal import DeliveryJournal
from stackwatch.webknossos.patience import Patience, Waiting

IMPATIENCE = Patience(
    first_delay_s=0.05,
    cap_s=0.2,
    give_up_s=0.5,
    poll_s=0.1,
    access_cache_s=0.1,
    settle_s=1.0,
)


def deliver_soon(request: DeliveryRequest, journal: DeliveryJournal) -> Delivered:
    """Deliver, or give up soon."""
    return deliver(request, journal, waiting=Waiting(journal.cancelled, IMPATIENCE))


if __name__ == "__main__":
    sys.exit(serve(connect_to_daemon(sys.argv[1:]), deliver_soon))
