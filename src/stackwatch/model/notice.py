"""What people are told: notices, where they stand, and who is to have them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

NoticeKind = Literal["parked", "share-down", "disk-low", "delivered"]
"""What a notice is about."""


class NoticeState(StrEnum):
    """Where a notice stands."""

    DUE = "due"
    SENT = "sent"
    """Every receiver has it."""
    DROPPED = "dropped"
    """Given up after days, or nobody needs to know."""


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A notice before it is recorded.

    Attributes
    ----------
    kind : str
    subject : str
        What it is about: the same words again mean the same thing again.
    facts : mapping
        JSON values: what happened, for people and for programs.
    is_recovery : bool
        The trouble is over.
    """

    kind: NoticeKind
    subject: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    is_recovery: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice that is recorded.

    Attributes
    ----------
    attempt : int
        How often it was tried to send it.
    reached : tuple of str
        Ids of the receivers that have it.
    error : str
        Why it did not reach the others, for a person.
    not_before_us : int
        When it is tried again.
    created_at_us : int
        When the trouble was seen.
    """

    notice_id: int
    kind: NoticeKind
    subject: str
    facts: Mapping[str, Any]
    is_recovery: bool
    state: NoticeState
    created_at_us: int
    attempt: int = 0
    reached: tuple[str, ...] = ()
    error: str = ""
    not_before_us: int = 0
    finished_at_us: int | None = None

    @property
    def topic(self) -> tuple[str, str]:
        """What it is about, and which: the next of the same topic tells how that went on."""
        return self.kind, self.subject

    def as_record(self) -> dict[str, Any]:
        """Return JSON values (docs/json.md)."""
        return {
            "notice_id": self.notice_id,
            "kind": self.kind,
            "is_recovery": self.is_recovery,
            "subject": self.subject,
            "facts": dict(self.facts),
            "state": str(self.state),
            "attempt": self.attempt,
            "message": self.error or None,
            "created_at_us": self.created_at_us,
            "not_before_us": self.not_before_us,
            "finished_at_us": self.finished_at_us,
        }


@dataclass(frozen=True, slots=True)
class ReceiverOptions:
    """Who is told.

    Attributes
    ----------
    webhooks : tuple of str
        Addresses; they may hold secrets.
    apprise_file : Path or None
        A file with the addresses of mail and chat services, as apprise reads it.
    """

    webhooks: tuple[str, ...] = ()
    apprise_file: Path | None = None

    def __bool__(self) -> bool:
        """Tell whether anybody is told."""
        return bool(self.webhooks) or self.apprise_file is not None


@dataclass(frozen=True, slots=True)
class ReceiverAnswer:
    """What one receiver said to a message.

    Attributes
    ----------
    receiver : str
        Its id: a digest of its address.
    name : str
        For people; no secret of the address is in it.
    is_reached : bool
    reason : str
        What it answered, or why it did not.
    notices : tuple of int
        What the message told of.
    """

    receiver: str
    name: str
    is_reached: bool
    reason: str
    notices: tuple[int, ...] = ()
