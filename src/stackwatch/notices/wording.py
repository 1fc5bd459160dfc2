"""From notices to messages: a line for each, a title, and a JSON document. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from stackwatch import __version__
from stackwatch.model.acquisition import show_path
from stackwatch.model.notice import Notice

LINES_MAX: Final = 20
"""One message tells of so many; of the rest it gives the number."""

LINE_LONGEST: Final = 400

_TROUBLE: Final = {
    "parked": "parked", "share-down": "share down", "disk-low": "disk low",
    "delivered": "delivered",
}  # fmt: skip
_OVER: Final = {
    "parked": "no longer parked", "share-down": "share back", "disk-low": "room again",
    "delivered": "delivered",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """What one receiver is sent.

    Attributes
    ----------
    title : str
    lines : tuple of str
        Without line ends.
    document : dict
        The same for programs (docs/notices.md). JSON values.
    """

    title: str
    lines: tuple[str, ...]
    document: dict[str, Any]

    @property
    def body(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)


def write_message(notices: Sequence[Notice], host: str, sent_at_us: int) -> Message:
    """Return the message that tells of notices.

    Trouble that is over before anybody was told of it becomes one line.

    Parameters
    ----------
    notices : sequence of Notice
        Oldest first; at least one.
    host : str
        Of the service.
    sent_at_us : int
        Microseconds since 1970 UTC.
    """
    told = _fold(notices)
    lines = [_line(one, began) for one, began in told]
    shown, left = lines[:LINES_MAX], max(0, len(lines) - LINES_MAX)
    if left:
        shown.append(f"… and {left} more: `stackwatch status` and `stackwatch notices list`")
    title = f"stackwatch on {host}: {_counts([one for one, _ in told])}"
    document = {
        "schema": 1,
        "service": "stackwatch",
        "version": __version__,
        "host": host,
        "sent_at_utc": format_utc(sent_at_us),
        "title": title,
        "text": "\n".join([title, *shown]),
        "notices": [
            {
                "id": one.notice_id,
                "kind": one.kind,
                "is_recovery": one.is_recovery,
                "subject": one.subject,
                "at_utc": format_utc(one.created_at_us),
                "began_at_utc": format_utc(began) if began is not None else None,
                "text": line,
                "facts": {
                    key: show_path(value) if isinstance(value, str) else value
                    for key, value in one.facts.items()
                },
            }
            for (one, began), line in zip(told[:LINES_MAX], lines, strict=False)
        ],
        "left_out": left,
    }
    return Message(title, tuple(shown), document)


def write_test(host: str, sent_at_us: int) -> Message:
    """Return the message of `stackwatch notices test`."""
    title = f"stackwatch on {host}: a test"
    line = "This is a test: notices of this service arrive here."
    document = {
        "schema": 1,
        "service": "stackwatch",
        "version": __version__,
        "host": host,
        "sent_at_utc": format_utc(sent_at_us),
        "title": title,
        "text": f"{title}\n{line}",
        "notices": [],
        "left_out": 0,
    }
    return Message(title, (line,), document)


def format_utc(at_us: int) -> str:
    """Return a moment as ISO 8601, to the second."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---------------------------------------------------------------- parts


def _fold(notices: Sequence[Notice]) -> list[tuple[Notice, int | None]]:
    """Return what is told, each with when the trouble began if that is told only now."""
    told: list[tuple[Notice, int | None]] = []
    at: dict[tuple[str, str], int] = {}
    for one in notices:
        place = at.get(one.topic)
        before = told[place] if place is not None else None
        if one.is_recovery and before is not None and not before[0].is_recovery:
            assert place is not None
            told[place] = (one, before[0].created_at_us)
            continue
        at[one.topic] = len(told)
        told.append((one, None))
    return told


def _line(one: Notice, began_us: int | None) -> str:
    facts = one.facts
    what = (_OVER if one.is_recovery else _TROUBLE)[one.kind]
    parts = [f"{what}: {facts.get('name') or one.subject}"]
    job_id = facts.get("job_id")
    if job_id is not None:
        parts[0] += f" (job {job_id})"
    if began_us is not None:
        parts.append(f"from {_clock(began_us)} to {_clock(one.created_at_us)}")
    message, hint, link = (str(facts.get(key) or "") for key in ("message", "hint", "link"))
    if message:
        parts.append(message)
    if hint and hint not in message:
        parts.append(f"Hint: {hint}")
    if link:
        parts.append(link)
    text = "".join(c if c.isprintable() else " " for c in " – ".join(parts))
    line = " ".join(text.split())
    return line if len(line) <= LINE_LONGEST else line[: LINE_LONGEST - 2] + " …"


def _clock(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%H:%M UTC")


def _counts(notices: Sequence[Notice]) -> str:
    words = [(_OVER if one.is_recovery else _TROUBLE)[one.kind] for one in notices]
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
