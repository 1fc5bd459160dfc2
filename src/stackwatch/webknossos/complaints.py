"""What a server says when it does not do what it was asked: one sentence, whatever the shape.

Source: the five shapes were read in the server and its proxies: `messages` with an inner `chain`,
a list of messages, the form errors of its framework, plain text, and HTML of a proxy.
"""

import html
import json
import re
from dataclasses import dataclass
from typing import Any, Final

_LONGEST: Final = 400
_STAMP: Final = re.compile(r"^\s*\[Server Time[^\]]*\]\s*")
_REPLY: Final = re.compile(r"ResponseBody:\s*'?(\{.*)", re.DOTALL)
_INNER_ERROR: Final = re.compile(r'"(?:error|msg)"\s*:\s*"((?:[^"\\]|\\.)*)"')
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_NO_TEXT: Final = re.compile(r"<(style|script)\b.*?</\1>|<[^>]+>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Complaint:
    """An answer that is no success.

    Attributes
    ----------
    status : int
        HTTP status.
    sentence : str
        What the server says first; of several messages all.
    chain : str
        Its inner causes, outermost first; empty if it names none.
    """

    status: int
    sentence: str
    chain: str = ""

    def says(self, *phrases: str) -> bool:
        """Tell whether one of these phrases stands in it, in upper or lower case."""
        text = f"{self.sentence}\n{self.chain}".lower()
        return any(phrase.lower() in text for phrase in phrases)

    @property
    def text(self) -> str:
        """Return one sentence with its innermost cause, for people."""
        causes = [cause for cause in _split_chain(self.chain) if cause not in self.sentence]
        text = f"{self.sentence} ({causes[-1]})" if causes else self.sentence
        text = text or f"HTTP status {self.status}"
        return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def parse_complaint(status: int, body: bytes) -> Complaint:
    """Return what an answer says.

    Parameters
    ----------
    status : int
    body : bytes
        As it came; of any shape.

    Examples
    --------
    >>> body = b'{"messages": [{"error": "No."}, {"chain": "[Server Time 1] No. <~ Quota."}]}'
    >>> parse_complaint(400, body).text
    'No. (Quota.)'
    """
    text = body.decode("utf-8", "replace").strip()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return Complaint(status, _plain(text))
    if isinstance(document, dict) and isinstance(document.get("messages"), list):
        return _from_messages(status, document["messages"])
    if isinstance(document, dict):
        return Complaint(status, _from_form(document))
    return Complaint(status, _plain(str(document)))


def _from_messages(status: int, messages: list[Any]) -> Complaint:
    entries = [entry for entry in messages if isinstance(entry, dict)]
    errors = [_tidy(str(entry["error"])) for entry in entries if "error" in entry]
    chains = [str(entry["chain"]) for entry in entries if "chain" in entry]
    return Complaint(status, " ".join(errors), " <~ ".join(chains))


def _from_form(document: dict[str, Any]) -> str:
    """Read `{"obj.filePaths": [{"msg": ["error.path.missing"]}]}`."""
    fields = []
    for key, problems in document.items():
        words = [
            str(word)
            for problem in (problems if isinstance(problems, list) else [])
            if isinstance(problem, dict)
            for word in (problem.get("msg") or [])
        ]
        if words:
            fields.append(f"{key.removeprefix('obj.')}: {', '.join(words)}")
    if fields:
        return "The server does not take the request's form: " + "; ".join(fields) + "."
    return _plain(json.dumps(document, ensure_ascii=False))


def _split_chain(chain: str) -> list[str]:
    causes = []
    for part in chain.split("<~"):
        cause = _STAMP.sub("", part).strip()
        reply = _REPLY.search(cause)
        if reply:  # another server's answer, cut off somewhere
            inner = _INNER_ERROR.findall(reply[1])
            cause = inner[0] if inner else cause[: reply.start()]
        if cause:
            causes.append(_tidy(cause))
    return causes


def _plain(text: str) -> str:
    if "<" in text and re.search(r"<(!doctype|html|body|head|h1)\b", text, re.IGNORECASE):
        title = _TITLE.search(text)
        text = html.unescape(_NO_TEXT.sub(" ", title[1] if title else text))
    return _tidy(text)[:_LONGEST]


def _tidy(text: str) -> str:
    """Return text on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
