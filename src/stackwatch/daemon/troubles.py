"""What is not as it should be at this moment, as far as people are told of it.

Asked of what the daemon knows anyway; nothing is touched here that could hang but the disk of
`state_dir`, which is local.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from stackwatch.clock import Clock
from stackwatch.daemon.conversions import Conversions
from stackwatch.daemon.folders import WatchedFolder
from stackwatch.daemon.notice_rules import Fate, Trouble
from stackwatch.daemon.watching import Watching
from stackwatch.ledger.ledger import Ledger
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import DeliveryState
from stackwatch.model.job import AcquisitionState, FolderState
from stackwatch.model.notice import Notice
from stackwatch.stores.room import show_bytes

AWAY_S: Final = 15.0
"""A share that comes back sooner was not away."""

SETTLED_S: Final = 60.0
"""After a start it takes a while until all targets were looked at."""

STATE_FREE_BYTES: Final = 256 << 20
"""Less room on the disk of `state_dir` is told: the ledger needs some."""

_STATE: Final = "state_dir"
_NOBODY_NEEDS_TO_KNOW: Final = (
    AcquisitionState.IGNORED, AcquisitionState.SUPERSEDED, AcquisitionState.PARKED, "",
)  # fmt: skip


class Troubles:
    """Looks for trouble. Used by the main thread alone.

    Parameters
    ----------
    ledger : Ledger
    watching : Watching
    conversions : Conversions
    clock : Clock
    state_dir : Path
    """

    def __init__(
        self,
        ledger: Ledger,
        watching: Watching,
        conversions: Conversions,
        clock: Clock,
        state_dir: Path,
    ) -> None:
        self._ledger = ledger
        self._watching = watching
        self._conversions = conversions
        self._clock = clock
        self._state_dir = state_dir
        self._away_since: dict[str, float] = {}
        self._started_s = clock.monotonic()

    def iter_now(self) -> Iterator[Trouble]:
        """Yield all trouble there is."""
        yield from self._parked()
        yield from self._away()
        yield from self._without_room()

    def fate_of(self, notice: Notice) -> tuple[Fate, Mapping[str, Any]]:
        """Return what became of trouble that `iter_now` does not yield any more."""
        what, _, which = notice.subject.partition(":")
        if what == "acquisition":
            state = self._ledger.notices.fate_of_acquisition(int(which))
            is_over = state == AcquisitionState.PUBLISHED
            message = "It was converted after all."
            fate = _fate(is_over=is_over, is_ended=state in _NOBODY_NEEDS_TO_KNOW)
        elif what == "delivery":
            state = self._ledger.notices.fate_of_delivery(int(which))
            is_over = state == DeliveryState.DELIVERED
            message = "It was delivered after all."
            # parked and yet no trouble: something newer took the place of its dataset
            fate = _fate(is_over=is_over, is_ended=state in ("", DeliveryState.PARKED))
        elif what == "folder" and notice.kind == "share-down":
            fate, message = self._fate_of_share(which), "It can be looked through again."
        else:
            is_settled = self._clock.monotonic() - self._started_s >= SETTLED_S
            is_ended = what != _STATE and self._folder(which) is None
            fate = _fate(is_over=is_settled and not is_ended, is_ended=is_ended)
            message = "It goes on."
        return fate, {"message": message}

    def _parked(self) -> Iterator[Trouble]:
        for row in self._ledger.notices.parked_acquisitions():
            acquisition = show_path(os.fsdecode(row["key"]))
            facts = {
                "name": f"{row['folder']}/{acquisition}",
                "folder": row["folder"],
                "acquisition": acquisition,
                "job_id": row["job_id"],
                **_told(row["error"]),
            }
            subject = f"acquisition:{row['acquisition_id']}"
            yield Trouble("parked", subject, facts, row["since_us"])
        for row in self._ledger.notices.parked_deliveries():
            facts = {
                "name": f"delivery of {row['name']}",
                "folder": row["folder"],
                "dataset": row["name"],
                "server": row["server"],
                **_told(row["error"]),
            }
            yield Trouble("parked", f"delivery:{row['delivery_id']}", facts, row["since_us"])

    def _away(self) -> Iterator[Trouble]:
        now_s = self._clock.monotonic()
        away = {
            folder.name: folder
            for folder in self._watching.folders
            if folder.state is FolderState.UNAVAILABLE
        }
        self._away_since = {name: self._away_since.get(name, now_s) for name in away}
        for name, folder in away.items():
            if now_s - self._away_since[name] >= AWAY_S:
                facts = {"name": f"folder {name}", "folder": name, "message": folder.reason}
                yield Trouble("share-down", f"folder:{name}", facts)

    def _without_room(self) -> Iterator[Trouble]:
        for name, pause in self._conversions.paused.items():
            facts = {"name": f"folder {name}", "folder": name, "message": pause.reason}
            if pause.is_target_away:
                facts["name"] = f"target of {name}"
                yield Trouble("share-down", f"target:{name}", facts)
            else:
                yield Trouble("disk-low", f"folder:{name}", facts)
        try:
            free = shutil.disk_usage(self._state_dir).free
        except OSError:
            return
        if free < STATE_FREE_BYTES:
            message = f"{show_bytes(free)} free at “{show_path(self._state_dir)}”, for the ledger."
            yield Trouble("disk-low", _STATE, {"name": _STATE, "message": message})

    def _folder(self, name: str) -> WatchedFolder | None:
        return next((one for one in self._watching.folders if one.name == name), None)

    def _fate_of_share(self, name: str) -> Fate:
        folder = self._folder(name)
        if folder is None:
            return Fate.ENDED
        is_back = folder.state is not FolderState.UNAVAILABLE and folder.view.scanned_s is not None
        return Fate.OVER if is_back else Fate.UNSURE


def _told(error: Mapping[str, Any]) -> dict[str, Any]:
    return {key: error.get(key) for key in ("error_code", "message", "hint")}


def _fate(*, is_over: bool, is_ended: bool) -> Fate:
    if is_over:
        return Fate.OVER
    return Fate.ENDED if is_ended else Fate.UNSURE
