"""Whatever shape an answer has, one sentence comes out; and the error tells what can be done."""

import json

import pytest

from stackwatch.errors import (
    DeliveryError,
    DeliveryRefusedError,
    DeliveryUnauthorizedError,
    DeliveryUnavailableError,
)
from stackwatch.webknossos.complaints import parse_complaint
from stackwatch.webknossos.verdicts import UPLOAD_UNKNOWN, verdict_of

RPC = (
    'Failed RPC to WEBKNOSSOS, Status: 403 ResponseBody: \'{"messages":[{"error":"Cannot upload '
    "dataset because the storage quota of the organization is exceeded.\"}]}'"
)


def messages(*texts: str, chain: str = "") -> bytes:
    """Return an application error."""
    entries = [{"error": text} for text in texts]
    return json.dumps({"messages": [*entries, *([{"chain": chain}] if chain else [])]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, messages("No."), "No."),
        (400, messages("No.", "Nor that."), "No. Nor that."),
        (
            400,
            messages("No.", chain="[Server Time 2026-05-01T10:00:00Z] No. <~ Because <~ of that."),
            "No. (of that.)",
        ),
        (
            400,
            messages("Could not validate.", chain=f"[Server Time x] Could not validate. <~ {RPC}"),
            "Could not validate. (Cannot upload dataset because the storage quota of the "
            "organization is exceeded.)",
        ),
        (
            400,
            messages("A.", chain='A. <~ Failed RPC, Status: 500 ResponseBody: \'{"messages":[{'),
            "A. (Failed RPC, Status: 500)",
        ),
        (
            400,
            b'{"obj.filePaths":[{"msg":["error.path.missing"],"args":[]}]}',
            "The server does not take the request's form: filePaths: error.path.missing.",
        ),
        (403, b"Token authentication failed.", "Token authentication failed."),
        (
            502,
            b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 "
            b"Bad Gateway</h1></center><hr><center>nginx</center></body></html>",
            "502 Bad Gateway",
        ),
        (500, b"<!DOCTYPE html><style>p {}</style><p>Oops &amp; <b>sorry</b></p>", "Oops & sorry"),
        (500, b"", "HTTP status 500"),
        (500, b"\xff\xfe\x00\x1b[31mred", "\ufffd\ufffd [31mred"),
        (400, b"[1, 2]", "[1, 2]"),
        (400, b'{"messages": "odd"}', '{"messages": "odd"}'),
    ],
)
def test_one_sentence_of_every_shape(status: int, body: bytes, expected: str):
    """Messages, lists, chains, forms, plain text and HTML become one readable sentence."""
    assert expected == parse_complaint(status, body).text


def test_a_long_answer_is_cut():
    """A page of a megabyte does not become a log line of one."""
    assert 400 == len(parse_complaint(500, b"x" * 1_000_000).text)
    assert 400 == len(parse_complaint(400, messages("y" * 10_000)).text)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, messages("Could not validate.", chain=RPC), DeliveryRefusedError),
        (400, messages("x", chain="x <~ Data store could not be found or accessed."),
         DeliveryUnavailableError),
        (400, messages("Failed to check data access, token may be expired."),
         DeliveryUnavailableError),
        (400, messages("Dataset name “a” is already taken."), DeliveryRefusedError),
        (403, b"No write access in this folder.", DeliveryRefusedError),
        (401, b"Please log in.", DeliveryUnauthorizedError),
        (403, b"You are not authorized to view or edit this resource.", DeliveryUnauthorizedError),
        (404, messages("This instance does not support the requested HTTP API version."),
         DeliveryRefusedError),
        (404, b"", DeliveryRefusedError),
        (413, b"", DeliveryRefusedError),
        (429, b"", DeliveryUnavailableError),
        (500, b"", DeliveryUnavailableError),
        (503, b"<html></html>", DeliveryUnavailableError),
        (599, b"", DeliveryUnavailableError),
        (418, b"teapot", DeliveryRefusedError),
    ],
)  # fmt: skip
def test_the_error_tells_what_can_be_done(status: int, body: bytes, kind: type[DeliveryError]):
    """Retry, pause all, or ask a human: by what the answer means."""
    error = verdict_of(parse_complaint(status, body), "do it", "https://wk.example.org")

    assert kind is type(error)
    assert error.hint
    assert error.hint in error.message
    assert "https://wk.example.org did not do it" in error.message


def test_the_cause_is_searched_in_the_chain_too():
    """An unknown upload is recognised by its text, in old and new wording, wherever it stands."""
    found = parse_complaint(400, messages("Outer.", chain="Outer. <~ could not find running x"))

    assert found.says(*UPLOAD_UNKNOWN)
    assert not found.says("something else")
