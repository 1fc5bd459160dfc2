"""Switch to new settings, and tell everybody what came of it: systemd, the log, the callers."""

from collections.abc import Callable

from stackwatch.daemon.reload import Reload, Reply, SettingsLoaded, Swap, plan_swap
from stackwatch.daemon.sdnotify import Notifier
from stackwatch.errors import LedgerUnwritableError, StackwatchError
from stackwatch.logs import Event, logger
from stackwatch.settings import Settings


class SettingsSwitch:
    """New settings for the running daemon: all of them, or none. Used by the main thread alone.

    Parameters
    ----------
    reload : Reload
    notifier : Notifier
        Each reload is announced, and ends with READY, whatever came of it.
    adopt : callable
        Takes valid settings over.

    Attributes
    ----------
    refused : str
        For the status line, as long as the newest settings were refused; else empty.
    """

    def __init__(self, reload: Reload, notifier: Notifier, adopt: Callable[[Swap], None]) -> None:
        self.refused = ""
        self._reload = reload
        self._notifier = notifier
        self._adopt = adopt

    def begin(self, reply: Reply | None = None) -> None:
        """Have the settings read anew; `take` switches to them.

        Raises
        ------
        UsageError
            They did not come from a file.
        """
        self._notifier.reloading()  # first: systemd waits for it, whatever comes of it
        try:
            self._reload.begin(*([reply] if reply is not None else []))
        except StackwatchError as error:
            self._refuse(error)
            raise

    def begin_unasked(self) -> None:
        """Begin because of a signal: nobody waits for an answer."""
        try:
            self.begin()
        except StackwatchError:
            return  # told in the log

    def tick(self, settings: Settings) -> None:
        """Give up a reading that takes too long."""
        if (late := self._reload.expired()) is not None:
            self.take(late, settings)

    def take(self, loaded: SettingsLoaded, settings: Settings) -> None:
        """Switch if all of the new settings are valid; keep those in force otherwise.

        Raises
        ------
        LedgerUnwritableError
            The folders could not be recorded: the old settings stay, ask again later.
        """
        if not self._reload.take(loaded):
            return
        if isinstance(loaded.found, StackwatchError):
            self._refuse(loaded.found)
            self._reload.finish(loaded.found)
            return
        swap = plan_swap(settings, loaded.found)
        try:
            self._adopt(swap)
        except LedgerUnwritableError as error:
            self._refuse(error)
            self._reload.finish(error)
            raise
        self.refused = ""
        self._notifier.ready("settings reloaded")
        record = swap.as_record()
        logger().info(
            Event.SETTINGS_RELOADED,
            **{key: value for key, value in record.items() if key != "status"},
        )
        self._reload.finish(record)

    def _refuse(self, error: StackwatchError) -> None:
        logger().error(
            Event.SETTINGS_REFUSED,
            error_code=error.code, message=error.message, hint=error.hint,
        )  # fmt: skip
        self.refused = "the new settings were refused, the old ones stay in force"
        self._notifier.ready(self.refused)
