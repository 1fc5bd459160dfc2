"""Mail and chat services through apprise, which knows how each of them wants to be spoken to.

Its addresses hold passwords: nothing apprise says leaves this module before they are taken out.
"""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stackwatch.model.acquisition import show_path
from stackwatch.model.notice import ReceiverAnswer
from stackwatch.notices.webhook import receiver_id
from stackwatch.notices.wording import Message

FILE_BYTES_MAX: Final = 1 << 20
_HIDDEN: Final = "***"
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Service:
    """One address of the file.

    Attributes
    ----------
    receiver : str
    name : str
        The kind of service and its host: `E-Mail mail.example.org`.
    sender : object
        Apprise's own.
    """

    receiver: str
    name: str
    sender: Any  # apprise.NotifyBase: the library is imported late


def load_services(file: Path) -> tuple[tuple[Service, ...], str]:
    """Read the addresses of a file, as text with an address a line, or as apprise's YAML.

    Returns
    -------
    tuple of Service
    str
        Why some or all are missing, for a person; empty if none is.
    """
    try:
        import apprise
    except ImportError:
        return (), "apprise is not installed: pip install 'stackwatch[notify]'"
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX).decode("utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        return (), f"“{show_path(file)}” cannot be read: {why}"
    storage = apprise.PersistentStoreMode.MEMORY  # or it keeps files in the home directory
    # plain text is plain: nothing is interpreted, nothing is sent from threads of its own
    asset = apprise.AppriseAsset(async_mode=False, storage_mode=storage, secure_logging=True)
    config: Any = apprise.AppriseConfig(asset=asset)
    try:
        with _listening(logging.ERROR) as said:
            config.add_config(content, asset=asset, recursion=0)
            # the method had another name before apprise 2
            read = getattr(config, "services", None) or config.servers
            found = tuple(_service(sender) for sender in read())
    except Exception as error:  # noqa: BLE001 - a plugin raises what it likes; webhooks go on
        why = f"apprise failed at one of its lines ({type(error).__name__})"
        return (), f"“{show_path(file)}” cannot be used: {why}"
    if not found:
        return (), f"“{show_path(file)}” holds no address that apprise understands"
    if said:
        return found, f"“{show_path(file)}”: apprise does not understand {len(said)} of its lines"
    return found, ""


def send_to_service(service: Service, message: Message) -> ReceiverAnswer:
    """Send a message and return what came of it. Never raises."""
    import apprise

    try:
        with _listening(logging.WARNING) as said:
            is_reached = bool(
                service.sender.notify(
                    title=message.title, body=message.body, body_format=apprise.NotifyFormat.TEXT
                )
            )
        reason = "taken" if is_reached else _last_words(said, service.sender)
    except Exception as error:  # noqa: BLE001 - a plugin raises what it likes
        is_reached, reason = False, f"it could not be sent ({type(error).__name__})"
    return ReceiverAnswer(service.receiver, service.name, is_reached, reason)


def hide_secrets(text: str, sender: Any) -> str:
    """Take out of a text what stands in an address and not in its public form."""
    known = set(_iter_pieces(sender.url(privacy=True)))
    for attribute in ("user", "password"):
        secret = str(getattr(sender, attribute, None) or "")
        if len(secret) > 2:
            text = text.replace(secret, _HIDDEN)
    for piece in sorted(set(_iter_pieces(sender.url(privacy=False))) - known, key=len)[::-1]:
        text = text.replace(piece, _HIDDEN)
    return text


def _service(sender: Any) -> Service:
    host = str(getattr(sender, "host", None) or "")
    # of many services the place of the host holds a token: it is shown only if apprise shows it
    is_public = host and f"{host}" in sender.url(privacy=True)
    name = f"{sender.service_name} {host}" if is_public else str(sender.service_name)
    return Service(receiver_id(sender.url(privacy=False)), name, sender)


def _iter_pieces(url: str) -> Iterator[str]:
    return (piece for piece in re.split(r"[^\w.%+-]+", url) if len(piece) > 5)


def _last_words(said: list[str], sender: Any) -> str:
    if not said:
        return "refused"
    return " ".join(hide_secrets(said[-1], sender).split())[:_LONGEST]


class _Ear(logging.Handler):
    """Keeps what apprise says in this very thread: others send at the same time."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.said: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.said.append(record.getMessage())


@contextmanager
def _listening(level: int) -> Iterator[list[str]]:
    """Hear what apprise says, and let nobody else: its words may hold passwords."""
    logger, ear = logging.getLogger("apprise"), _Ear(level)
    logger.propagate = False
    logger.setLevel(logging.WARNING)  # below that it tells whole addresses
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # without any, Python writes to stderr
    logger.addHandler(ear)
    try:
        yield ear.said
    finally:
        logger.removeHandler(ear)
