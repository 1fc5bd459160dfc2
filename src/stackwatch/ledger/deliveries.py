"""Verbs about deliveries: one for each published dataset, with a state and retries of its own.

A delivery that was begun carries an `UploadRecord`: the next process goes on from there. What a
newer content took the place of is not begun any more, and is finished only where the server may
have it already.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from stackwatch import failpoints
from stackwatch.errors import (
    CancelledError,
    IllegalTransitionError,
    LedgerError,
    StackwatchError,
    UsageError,
)
from stackwatch.ledger.book import Book, check_transition
from stackwatch.ledger.columns import dump_json
from stackwatch.ledger.delivery_records import DeliveryRecord
from stackwatch.model.delivery import (
    DELIVERY_TRANSITIONS,
    Delivered,
    DeliveryKind,
    DeliveryState,
    UploadRecord,
)

NO_CONDITIONS: Final = {
    "state": None, "delivery_id": None, "acquisition_id": None, "job_id": None, "folder": None,
    "until_us": None, "after_id": 0, "is_open": False, "is_newest_first": False, "limit": -1,
}  # fmt: skip
"""Of the query `deliveries`."""

MOST_AT_ONCE: Final = 100
"""Rows that one look takes, so that the service goes on in between."""

_ENDED: Final = ("finished", "described")

ChooseKind = Callable[[bool | None], DeliveryKind | None]
"""From what an acquisition's sidecar says about delivering to how it is done, None for not."""


class DeliveryVerbs:
    """What is recorded around delivering. Every verb is one transaction."""

    def __init__(self, book: Book) -> None:
        self._book = book

    # ------------------------------------------------------------ planning

    def plan(
        self, folder: str, server: str, choose: ChooseKind, limit: int = MOST_AT_ONCE
    ) -> tuple[DeliveryRecord, ...]:
        """Plan the delivery of what is published in a folder and has none: so many at once.

        To repeat the same call plans the rest, and then changes nothing.

        Returns
        -------
        tuple of DeliveryRecord
            Those that were planned now.
        """
        planned: list[DeliveryRecord] = []
        unwanted = 0
        with self._book.transaction():
            while len(planned) < limit:
                values = {"folder": folder, "limit": limit, "offset": unwanted}
                rows = self._book.rows("datasets_to_deliver", **values)
                for row in rows:
                    kind = choose(None if row["upload"] is None else bool(row["upload"]))
                    if kind is None:
                        unwanted += 1
                    else:
                        planned.append(self._plan(row["dataset_id"], kind, server))
                if len(rows) < limit:
                    break
        return tuple(planned)

    def _plan(self, dataset_id: int, kind: DeliveryKind, server: str) -> DeliveryRecord:
        values = {"dataset_id": dataset_id, "kind": kind, "server": server}
        made = self._book.row("plan_delivery", now_us=self._book.now_us(), **values)
        assert made is not None
        found = self.find(made["id"])
        self._note("delivery.queued", found, state_to=DeliveryState.QUEUED, server=server)
        return found

    def redirect(self, folder: str, server: str, choose: ChooseKind) -> None:
        """Have what is not delivered yet begin anew, where it goes elsewhere or otherwise now.

        What is under way is left alone.
        """
        with self._book.transaction():
            for found in self._list(folder=folder, is_open=True):
                kind = choose(found.upload)
                is_same = (found.kind, found.server) == (kind, server)
                if found.state is DeliveryState.RUNNING or kind is None or is_same:
                    continue
                values = {"kind": kind, "server": server}
                self._book.rows("redirect_delivery", delivery_id=found.delivery_id, **values)
                self._note("delivery.redirected", found, **values)

    def due(
        self,
        limit: int,
        is_wanted: Callable[[DeliveryRecord], bool] = lambda delivery: True,
        until_us: int | None = None,
    ) -> tuple[DeliveryRecord, ...]:
        """Return at most so many deliveries that may begin or go on, the oldest first.

        Without what a newer content took the place of, but where the server may have it already;
        and without those that would overtake an older generation of the same acquisition.

        Parameters
        ----------
        limit : int
        is_wanted : callable
            What the settings say.
        until_us : int or None
            Due by then; None: now.
        """
        found: list[DeliveryRecord] = []
        until_us, after_id = until_us or self._book.now_us(), 0
        with self._book.transaction():
            while len(found) < limit:
                page = self._list(until_us=until_us, after_id=after_id, limit=MOST_AT_ONCE)
                found += (
                    one
                    for one in page
                    if one.is_current and is_wanted(one) and not self._is_ahead(one)
                )
                if len(page) < MOST_AT_ONCE:
                    break
                after_id = page[-1].delivery_id
        return tuple(found[:limit])

    def waiting(self) -> tuple[DeliveryRecord, ...]:
        """Return what is queued or paused and not superseded, the oldest first."""
        found = self._list(is_open=True)
        return tuple(one for one in found if one.state in _WAITING and not one.is_superseded)

    def _is_ahead(self, found: DeliveryRecord) -> bool:
        """Tell whether an older generation of the same acquisition is still under way."""
        return any(
            older.generation < found.generation
            and (
                older.state is DeliveryState.RUNNING
                or (older.is_undecided and older.state in _WAITING)
            )
            for older in self._list(acquisition_id=found.acquisition_id)
        )

    def older_ids(self, delivery: DeliveryRecord) -> tuple[str, ...]:
        """Return the ids, on the server, of older generations of the same acquisition."""
        return tuple(
            older.remote_id
            for older in self._list(acquisition_id=delivery.acquisition_id)
            if older.generation < delivery.generation
            and older.state is DeliveryState.DELIVERED
            and older.server == delivery.server
            and older.remote_id not in ("", delivery.remote_id)
        )

    # ------------------------------------------------------------ one attempt

    def start(self, delivery_id: int) -> DeliveryRecord:
        """Record that a process is about to deliver it: the attempt counts from here on."""
        with self._book.transaction():
            found = self.find(delivery_id)
            is_news = not found.error  # a server that is down is asked again and again
            self._move(found, DeliveryState.RUNNING, "delivery.started", is_told=is_news)
            self._book.rows("delivery_started", delivery_id=delivery_id, now_us=self._book.now_us())
            return self.find(delivery_id)

    def record(self, delivery_id: int, attempt: int, upload: UploadRecord) -> DeliveryRecord:
        """Record a step before it is taken; after this returns it may be.

        Raises
        ------
        IllegalTransitionError
            It is not this attempt's any more, or the step leads back from the end: the process
            gives up.
        CancelledError
            A newer content took the dataset's place: it is not to be finished.
        """
        with self._book.transaction():
            found = self._of_attempt(delivery_id, attempt)
            known = found.record
            is_same = known is not None and known.upload_id == upload.upload_id
            is_back = upload.stage not in _ENDED
            if known is not None and is_same and known.stage in _ENDED and is_back:
                raise IllegalTransitionError(
                    f"Delivery {delivery_id} is “{known.stage}” on the server: it cannot go back "
                    f"to “{upload.stage}”. Nothing was changed.",
                    delivery_id=delivery_id,
                )
            if upload.stage == "finishing" and not found.is_current:
                raise _superseded(found)
            self._book.rows(
                "delivery_record",
                delivery_id=delivery_id,
                record=dump_json(dataclasses.asdict(upload)),
                remote_id=upload.remote_id,
                now_us=self._book.now_us(),
            )
            return self.find(delivery_id)

    def progress(self, delivery_id: int, progress: dict[str, Any] | None) -> None:
        """Record the newest progress, and that its process lives."""
        with self._book.transaction():
            values = {"delivery_id": delivery_id, "progress": dump_json(progress)}
            self._book.rows("delivery_progress", now_us=self._book.now_us(), **values)

    def deliver(self, delivery_id: int, delivered: Delivered) -> DeliveryRecord:
        """Record that WEBKNOSSOS shows the dataset; repeating changes nothing."""
        with self._book.transaction():
            found = self.find(delivery_id)
            if found.state is DeliveryState.DELIVERED:
                return found
            self._move(
                found,
                DeliveryState.DELIVERED,
                "job.delivered",
                link=delivered.link,
                remote_id=delivered.remote_id,
                bytes_sent=delivered.sent_bytes,
                seconds=round(delivered.seconds, 3),
                warnings=list(delivered.warnings),
            )
            self._book.rows(
                "delivery_done",
                delivery_id=delivery_id,
                remote_id=delivered.remote_id,
                link=delivered.link,
                now_us=self._book.now_us(),
            )
            failpoints.reach("delivery.before_commit")
        failpoints.reach("delivery.committed")
        return self.find(delivery_id)

    def pause(self, delivery_id: int, error: StackwatchError, until_us: int) -> DeliveryRecord:
        """Record that it waits for the server, or for a token; told once for one cause."""
        with self._book.transaction():
            found = self.find(delivery_id)
            is_news = (found.error or {}).get("error_code") != error.code
            self._move(
                found, DeliveryState.PAUSED, "delivery.paused",
                is_told=is_news, error_code=error.code,
            )  # fmt: skip
            return self._ended(delivery_id, error, until_us)

    def fail(self, delivery_id: int, error: StackwatchError, until_us: int) -> DeliveryRecord:
        """Record that an attempt failed; it is tried again later."""
        with self._book.transaction():
            found = self.find(delivery_id)
            self._move(found, DeliveryState.QUEUED, "delivery.failed", error_code=error.code)
            return self._ended(delivery_id, error, until_us)

    def park(self, delivery_id: int, error: StackwatchError) -> DeliveryRecord:
        """Record that a human is needed."""
        with self._book.transaction():
            found = self.find(delivery_id)
            self._move(found, DeliveryState.PARKED, "delivery.parked", error_code=error.code)
            return self._ended(delivery_id, error, 0)

    def release(self, delivery_id: int) -> DeliveryRecord:
        """Give a delivery back that was stopped or cut off; it costs nothing."""
        with self._book.transaction():
            found = self.find(delivery_id)
            if found.state is DeliveryState.RUNNING:
                self._move(found, DeliveryState.QUEUED, "delivery.released")
            return self.find(delivery_id)

    def recover(self) -> tuple[DeliveryRecord, ...]:
        """Give back what was running when the daemon ended; call once, before the first start."""
        with self._book.transaction():
            running = self._list(state=DeliveryState.RUNNING)
            return tuple(self.release(one.delivery_id) for one in running)

    def retry(self, delivery_id: int) -> DeliveryRecord:
        """Have a delivery tried again now, because a person thinks that the cause is mended.

        Raises
        ------
        UsageError
            There is no such delivery, it is done or under way, or a newer content took its place.
        """
        with self._book.transaction():
            known = self._list(delivery_id=delivery_id)
            if not known:
                raise no_such_delivery(delivery_id)
            (found,) = known
            is_done = found.state in (DeliveryState.DELIVERED, DeliveryState.RUNNING)
            if is_done or not found.is_current:
                why = found.state if is_done else "of a content that a newer one replaced"
                hint = f"Look at `stackwatch deliveries show {delivery_id}`."
                raise UsageError(
                    f"Delivery {delivery_id} is {why}: there is nothing to try again. {hint}",
                    hint=hint,
                    delivery_id=delivery_id,
                )
            if found.state is not DeliveryState.QUEUED:
                self._move(found, DeliveryState.QUEUED, "delivery.retried")
            else:
                self._note("delivery.retried", found)
            self._book.rows(
                "delivery_ended", delivery_id=delivery_id, error="", not_before_us=0, now_us=None
            )
            return self.find(delivery_id)

    def failures(self, delivery: DeliveryRecord) -> int:
        """Return how many attempts failed since a person last had it tried again."""
        values = {"job_id": delivery.job_id, "delivery_id": delivery.delivery_id}
        with self._book.transaction():
            row = self._book.row("delivery_failures", **values)
        assert row is not None
        return int(row["number"])

    def find(self, delivery_id: int) -> DeliveryRecord:
        """Return a delivery as it is now."""
        found = self._list(delivery_id=delivery_id)
        if not found:
            raise LedgerError(f"The ledger knows no delivery {delivery_id}.")
        return found[0]

    # ------------------------------------------------------------ parts

    def _list(self, **wanted: object) -> tuple[DeliveryRecord, ...]:
        with self._book.transaction():
            rows = self._book.rows("deliveries", **{**NO_CONDITIONS, **wanted})
        return tuple(map(DeliveryRecord.from_row, rows))

    def _of_attempt(self, delivery_id: int, attempt: int) -> DeliveryRecord:
        found = self.find(delivery_id)
        if found.state is not DeliveryState.RUNNING or found.attempt != attempt:
            raise IllegalTransitionError(
                f"Delivery {delivery_id} is “{found.state}” in attempt {found.attempt}: whoever "
                f"worked on it as attempt {attempt} may not go on.",
                delivery_id=delivery_id,
                state_from=str(found.state),
            )
        return found

    def _ended(self, delivery_id: int, error: StackwatchError, until_us: int) -> DeliveryRecord:
        self._book.rows(
            "delivery_ended",
            delivery_id=delivery_id,
            error=dump_json(error.as_record()),
            not_before_us=until_us,
            now_us=self._book.now_us(),
        )
        return self.find(delivery_id)

    def _move(
        self,
        found: DeliveryRecord,
        to: DeliveryState,
        event: str,
        *,
        is_told: bool = True,
        **facts: object,
    ) -> None:
        what = f"delivery {found.delivery_id}"
        check_transition(DELIVERY_TRANSITIONS, found.state, to, what)
        self._book.rows("delivery_state", delivery_id=found.delivery_id, state=to)
        if is_told:
            self._note(event, found, state_from=found.state, state_to=to, **facts)

    def _note(self, event: str, found: DeliveryRecord, **facts: object) -> None:
        self._book.note(
            event,
            job_id=found.job_id,
            acquisition_id=found.acquisition_id,
            delivery_id=found.delivery_id,
            dataset=found.name,
            **facts,
        )


_WAITING: Final = (DeliveryState.QUEUED, DeliveryState.PAUSED)


def no_such_delivery(delivery_id: int) -> UsageError:
    """Return the error for a number that is no delivery's."""
    hint = "`stackwatch deliveries list` shows the deliveries."
    return UsageError(
        f"There is no delivery {delivery_id}. {hint}", hint=hint, delivery_id=delivery_id
    )


def _superseded(found: DeliveryRecord) -> CancelledError:
    return CancelledError(
        f"“{found.name}” has a newer content: what was published before is not delivered any more.",
        hint="Nothing to do: the newer one is delivered.",
        delivery_id=found.delivery_id,
    )
