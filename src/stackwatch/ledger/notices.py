"""Verbs about notices: the outbox that outlives restarts, and what there is to tell of."""

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from stackwatch.ledger.book import Book
from stackwatch.ledger.columns import dump_json, parse_json
from stackwatch.model.notice import NewNotice, Notice, NoticeKind, NoticeState

REACHED: Final = "reached"
"""Key beside the facts of a notice: the receivers that have it."""

LONGEST_ERROR: Final = 500


class NoticeVerbs:
    """What is recorded around telling people. Every verb is one transaction."""

    def __init__(self, book: Book) -> None:
        self._book = book

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make one transaction of all verbs inside: hundreds of them cost one look at the disk."""
        with self._book.transaction():
            yield

    def record(self, new: NewNotice, state: NoticeState = NoticeState.DUE) -> Notice:
        """Put a notice into the outbox; or, with `dropped`, note that nobody needs to be told."""
        now_us = self._book.now_us()
        with self._book.transaction():
            row = self._book.row(
                "insert_notice",
                kind=new.kind,
                is_recovery=new.is_recovery,
                subject=new.subject,
                facts=dump_json(dict(new.facts)),
                state=state,
                now_us=now_us,
                finished_at_us=now_us if state is not NoticeState.DUE else None,
            )
        assert row is not None
        return notice_from_row(row)

    def due(self) -> tuple[Notice, ...]:
        """Return what is in the outbox, oldest first."""
        with self._book.transaction():
            rows = self._book.rows("due_notices")
        return tuple(map(notice_from_row, rows))

    def open_problems(self) -> tuple[Notice, ...]:
        """Return the newest notice of every trouble that is not over."""
        with self._book.transaction():
            rows = self._book.rows("open_problems")
        return tuple(map(notice_from_row, rows))

    def last_sent_us(self) -> int:
        """Return when a notice was last sent; 0 for never."""
        with self._book.transaction():
            row = self._book.row("last_notice_sent")
        return int(row["at_us"] or 0) if row is not None else 0

    def record_attempt(
        self, notice: Notice, reached: Collection[str], error: str, not_before_us: int
    ) -> None:
        """Record that not every receiver was reached; the others have it."""
        facts = {**notice.facts, REACHED: sorted({*notice.reached, *reached})}
        with self._book.transaction():
            self._book.rows(
                "notice_attempt",
                notice_id=notice.notice_id,
                facts=dump_json(facts),
                error=error[:LONGEST_ERROR],
                not_before_us=not_before_us,
            )

    def finish(self, notice_id: int, state: NoticeState) -> None:
        """Take a notice out of the outbox: everybody has it, or it is given up."""
        with self._book.transaction():
            self._book.rows(
                "notice_finished", notice_id=notice_id, state=state, now_us=self._book.now_us()
            )

    def remove_old(self, before_us: int, limit: int) -> int:
        """Remove notices older than that, the oldest first; return how many were removed.

        What is due stays, and so does the newest notice of trouble that is not over.
        """
        with self._book.transaction():
            return len(self._book.rows("remove_old_notices", before_us=before_us, limit=limit))

    # ------------------------------------------------------------ what there is to tell of

    def parked_acquisitions(self) -> tuple[dict[str, Any], ...]:
        """Return the parked acquisitions of configured folders, with the reason of each.

        Keys: `acquisition_id`, `folder`, `key`, `job_id`, `since_us`, `error`.
        """
        with self._book.transaction():
            rows = self._book.rows("parked_acquisitions")
        return tuple(map(_with_error, rows))

    def parked_deliveries(self) -> tuple[dict[str, Any], ...]:
        """Return the parked deliveries. Keys: `delivery_id`, `name`, `folder`, `since_us`, …."""
        with self._book.transaction():
            rows = self._book.rows("parked_deliveries")
        return tuple(map(_with_error, rows))

    def delivered_since(self, since_us: int) -> tuple[dict[str, Any], ...]:
        """Return what was delivered since a moment and nobody was told of yet, oldest first."""
        with self._book.transaction():
            rows = self._book.rows("deliveries_to_tell", since_us=since_us)
        return tuple(dict(row) for row in rows)

    def fate_of_acquisition(self, acquisition_id: int) -> str:
        """Return the state an acquisition is in; empty if it is gone or unknown."""
        with self._book.transaction():
            row = self._book.row("acquisition_by_id", acquisition_id=acquisition_id)
        return "" if row is None or row["vanished_at_us"] is not None else str(row["state"])

    def fate_of_delivery(self, delivery_id: int) -> str:
        """Return the state a delivery is in; empty if it is unknown."""
        with self._book.transaction():
            row = self._book.row("delivery_fate", delivery_id=delivery_id)
        return "" if row is None else str(row["state"])


def notice_from_row(row: sqlite3.Row) -> Notice:
    """Build the record from a row of the table."""
    facts = parse_json(row["facts"]) or {}
    reached = tuple(facts.pop(REACHED, ()))
    return Notice(
        notice_id=row["id"],
        kind=cast("NoticeKind", row["kind"]),
        subject=row["subject"],
        facts=facts,
        is_recovery=bool(row["is_recovery"]),
        state=NoticeState(row["state"]),
        created_at_us=row["created_at_us"],
        attempt=row["attempt"],
        reached=reached,
        error=row["error"],
        not_before_us=row["not_before_us"],
        finished_at_us=row["finished_at_us"],
    )


def _with_error(row: sqlite3.Row) -> dict[str, Any]:
    return {**dict(row), "error": parse_json(row["error"]) or {}}
