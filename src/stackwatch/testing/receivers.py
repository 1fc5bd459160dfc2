"""Receivers of notices on loopback: a webhook with many moods, a mail server that keeps mail."""

import email
import email.policy
import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any, Literal

Mood = Literal["well", "slow", "endless", "broken", "reset", "half", "moved", "gone", "silent"]
"""200; an answer after a second; a body without end; 500; a reset; half a head; a redirect to
another host; 404; never an answer."""

SLOW_S = 1.0


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False


class WebhookServer:
    """Takes what is posted, answers as its mood is.

    Attributes
    ----------
    mood : str
        May be changed at any time.
    taken : list of dict
        The documents that were answered with 200, in order.
    asked : int
        Requests in all.
    """

    def __init__(self, mood: Mood = "well", elsewhere: str = "") -> None:
        self.mood: Mood = mood
        self.taken: list[dict[str, Any]] = []
        self.asked = 0
        self.elsewhere = elsewhere
        self._stop = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hooks/secret-word"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="webhook", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End, also of connections that hang."""
        self._stop.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        ours = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                length = 0
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    key, _, value = line.decode("latin-1").partition(":")
                    if key.lower() == "content-length":
                        length = int(value)
                document = json.loads(self.rfile.read(length) or b"{}")
                ours.asked += 1
                ours._answer(self.connection, document)

        return Handler

    def _answer(self, connection: socket.socket, document: dict[str, Any]) -> None:
        mood = self.mood
        if mood == "slow":
            self._stop.wait(SLOW_S)
        if mood == "silent":
            self._stop.wait(60)
            return
        if mood == "reset":
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()
            return
        status = {"broken": "500 No", "moved": "307 There", "gone": "404 What"}.get(mood, "200 OK")
        if status.startswith("2"):
            self.taken.append(document)
        head = f"HTTP/1.1 {status}\r\n"
        if mood == "half":
            connection.sendall(head.encode())
            return
        if mood == "moved":
            head += f"Location: {self.elsewhere}\r\n"
        if mood == "endless":
            connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            self._drip(connection)
            return
        connection.sendall(f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())

    def _drip(self, connection: socket.socket) -> None:
        try:
            while not self._stop.wait(0.01):
                connection.sendall(b"1\r\nx\r\n")
        except OSError:
            return


class MailServer:
    """A mail server of a dozen lines: it takes everything, or refuses every receiver.

    Attributes
    ----------
    mails : list of EmailMessage
    """

    def __init__(self, *, is_refusing: bool = False) -> None:
        self.mails: list[EmailMessage] = []
        self.is_refusing = is_refusing
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="mail", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        ours = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self._say("220 here")
                while line := self.rfile.readline().strip():
                    word = line.split(b":")[0].split(b" ")[0].upper()
                    if word == b"RCPT" and ours.is_refusing:
                        self._say("550 nobody of that name")
                    elif word == b"DATA":
                        self._say("354 go on")
                        self._take_mail()
                        self._say("250 taken")
                    elif word == b"QUIT":
                        self._say("221 bye")
                        return
                    else:
                        self._say("250 well")

            def _take_mail(self) -> None:
                lines = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line[1:] if line.startswith(b"..") else line)
                content = b"".join(lines)
                mail = email.message_from_bytes(content, policy=email.policy.default)
                assert isinstance(mail, EmailMessage)
                ours.mails.append(mail)

            def _say(self, words: str) -> None:
                self.wfile.write(f"{words}\r\n".encode())

        return Handler


@contextmanager
def webhook(mood: Mood = "well", elsewhere: str = "") -> Iterator[WebhookServer]:
    """Run a webhook for a while."""
    server = WebhookServer(mood, elsewhere)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def mail_server(*, is_refusing: bool = False) -> Iterator[MailServer]:
    """Run a mail server for a while."""
    server = MailServer(is_refusing=is_refusing)
    try:
        yield server
    finally:
        server.close()


def mail_text(mail: EmailMessage) -> str:
    """Return the plain words of a mail."""
    body = mail.get_body(("plain", "html"))
    assert body is not None
    return str(body.get_content())


def wait_for(count: int, what: list[Any], seconds: float = 20.0) -> None:
    """Wait until a list is that long."""
    end_s = time.monotonic() + seconds
    while len(what) < count:
        assert time.monotonic() < end_s, f"{len(what)} of {count}: {what}"
        time.sleep(0.02)
