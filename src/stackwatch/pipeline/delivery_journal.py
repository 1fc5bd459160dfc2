"""What a delivery tells, and what must last before it goes on."""

import threading
from typing import Final, Protocol

from stackwatch.model.delivery import DeliveryProgress, UploadRecord

FOR_ALL: Final = "is_for_all"
"""Of an error's values: the server refused before it heard which dataset it is about."""


class DeliveryJournal(Protocol):
    """Where a delivery reports: the daemon at the other end of a socket, or a progress bar."""

    cancelled: threading.Event
    """Set when the delivery shall stop at the next chunk."""

    def progress(self, progress: DeliveryProgress) -> None:
        """Take the newest progress; it may be lost."""

    def record(self, record: UploadRecord) -> None:
        """Return when the record is committed.

        Raises
        ------
        CancelledError
            The daemon is gone: nothing more may be sent.
        """
