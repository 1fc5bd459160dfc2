"""Which error an answer becomes: by what the caller can do, never by the status alone. Pure."""

from dataclasses import dataclass
from typing import Final

from stackwatch.errors import (
    DeliveryError,
    DeliveryRefusedError,
    DeliveryUnauthorizedError,
    DeliveryUnavailableError,
)
from stackwatch.webknossos.complaints import Complaint

PASSING_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""What a proxy, or a server that starts anew, answers: the same request may be sent again."""

UPLOAD_UNKNOWN: Final = ("Could not find running", "noSuchUpload")
CHUNKS_MISSING: Final = (
    "Could not verify that all chunks have been uploaded", "Chunks missing for uploaded file",
    "Reserved file count does not match",
)  # fmt: skip
VERSION_REFUSED: Final = "does not support the requested HTTP API version"


@dataclass(frozen=True, slots=True)
class _Rule:
    phrases: tuple[str, ...]
    kind: type[DeliveryError]
    hint: str


_RULES: Final = (
    _Rule(
        ("storage quota",),
        DeliveryRefusedError,
        "Make room in WEBKNOSSOS, or ask for a larger quota; then try again.",
    ),
    _Rule(
        ("Data store could not be found or accessed", "Failed to check data access"),
        DeliveryUnavailableError,
        "Nothing: it is tried again.",
    ),
    _Rule(
        ("cannot write to organization data directory", "No space left on device"),
        DeliveryUnavailableError,
        "Tell whoever runs the server: its disk takes no data. It is tried again.",
    ),
    _Rule(
        ("Dataset name", "is already taken"),
        DeliveryRefusedError,
        "Choose another name: `--name`, `dataset_name` of the folder, or `name` in the sidecar.",
    ),
    _Rule(
        ("No write access in this folder", "Folder names cannot"),
        DeliveryRefusedError,
        "Choose another `remote_folder` (--folder), or have the account made a manager of it.",
    ),
    _Rule(
        ("Can only assign teams",),
        DeliveryRefusedError,
        "Name only `teams` that the token's account belongs to.",
    ),
    _Rule(
        ("permission to upload datasets to this data store",),
        DeliveryRefusedError,
        "Choose another `datastore`; `stackwatch webknossos check` lists them.",
    ),
    _Rule(
        (VERSION_REFUSED,),
        DeliveryRefusedError,
        "Upgrade stackwatch or the server: they have no version of the protocol in common.",
    ),
    _Rule(
        ("Token may be expired", "Invalid access token", "Token authentication failed"),
        DeliveryUnauthorizedError,
        "Put a new token where `token_file` says, of an account that may upload.",
    ),
)


def verdict_of(complaint: Complaint, request: str, server: str) -> DeliveryError:
    """Return the error for an answer that is no success.

    Parameters
    ----------
    complaint : Complaint
    request : str
        What was asked for: “reserve the upload”.
    server : str
        Address of who answered.

    Returns
    -------
    DeliveryUnavailableError
        The same may work later.
    DeliveryUnauthorizedError
        Nothing works with this token.
    DeliveryRefusedError
        This request never works.
    """
    rule = _matching_rule(complaint)
    text = complaint.text.rstrip(".")
    message = f"{server} did not {request}: {text} (HTTP {complaint.status})."
    return rule.kind(
        f"{message} {rule.hint}",
        hint=rule.hint,
        server=server,
        status=complaint.status,
        chain=complaint.chain[:2000],
    )


def _matching_rule(complaint: Complaint) -> _Rule:
    for rule in _RULES:
        if complaint.says(*rule.phrases):
            return rule
    if complaint.status in {401, 403}:
        return _Rule(
            (),
            DeliveryUnauthorizedError,
            "Look whether the token is still valid and its account may upload: "
            "`stackwatch webknossos check`.",
        )
    if complaint.status in PASSING_STATUSES or complaint.status >= 500:
        return _Rule((), DeliveryUnavailableError, "Nothing: it is tried again.")
    if complaint.status == 413:
        return _Rule(
            (), DeliveryRefusedError, "Set a smaller `chunk_mib`, or raise the proxy's limit."
        )
    return _Rule((), DeliveryRefusedError, "Mend what the server says, then try again.")
