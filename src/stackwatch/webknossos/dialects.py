"""The versions of the protocol: which one is spoken, and how uploads are worded in it. Pure.

Source: the upload routes are the same in 14, 15 and 16; 13 down to 10 share older ones.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stackwatch.errors import DeliveryRefusedError

NEWEST: Final = 16
OLDEST: Final = 10
FIRST_NEW: Final = 14
_RANGE: Final = re.compile(r"at least (\d+) and at most (\d+)")


def choose_version(oldest: int, current: int, server: str) -> int:
    """Return the newest version that both sides speak.

    Raises
    ------
    DeliveryRefusedError
        There is none.

    Examples
    --------
    >>> choose_version(10, 99, "https://wk.example.org")
    16
    """
    newest = min(NEWEST, current)
    if newest < max(OLDEST, oldest):
        hint = "Upgrade stackwatch." if oldest > NEWEST else "Upgrade the server."
        raise DeliveryRefusedError(
            f"{server} speaks versions {oldest} to {current} of its protocol, stackwatch "
            f"{OLDEST} to {NEWEST}: they have none in common. {hint}",
            hint=hint,
            server=server,
        )
    return newest


def parse_range(text: str) -> tuple[int, int] | None:
    """Return oldest and newest version that a server names when it refuses another one.

    Examples
    --------
    >>> parse_range("Client requested 16 but must be at least 10 and at most 13.")
    (10, 13)
    """
    found = _RANGE.search(text)
    return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a server is told before the first chunk.

    Attributes
    ----------
    upload_id, name, organization, folder_id : str
    team_ids : tuple of str
    paths : sequence of str
        Of all files, relative to the dataset; empty: not told.
    file_count : int
    total_bytes : int
    """

    upload_id: str
    name: str
    organization: str
    folder_id: str
    team_ids: tuple[str, ...]
    paths: Sequence[str]
    file_count: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Dialect:
    """How uploads are worded in one version.

    Attributes
    ----------
    version : int
    """

    version: int

    @property
    def is_new(self) -> bool:
        """Tell whether it has the routes of 14 and later."""
        return self.version >= FIRST_NEW

    @property
    def chunks_path(self) -> str:
        """Where chunks are sent to, and asked for."""
        return "datasets/upload/dataset" if self.is_new else "datasets"

    @property
    def reserve_path(self) -> str:
        """Where an upload is announced."""
        return f"{self.chunks_path}/reserveUpload"

    def reserve_body(self, wanted: Reservation) -> dict[str, Any]:
        """Return the document that announces an upload."""
        common = {"layersToLink": [], "requireUniqueName": False}
        common |= {"folderId": wanted.folder_id} if wanted.folder_id else {}
        upload = {
            "uploadId": wanted.upload_id,
            "totalFileCount": wanted.file_count,
            "filePaths": list(wanted.paths),
            "totalFileSizeInBytes": wanted.total_bytes,
        }
        if self.is_new:
            return {
                "resumableUploadInfo": upload,
                "datasetName": wanted.name,
                "organizationId": wanted.organization,
                "initialTeamIds": list(wanted.team_ids),
                **common,
            }
        return {
            **upload,
            "name": wanted.name,
            "organization": wanted.organization,
            "initialTeams": list(wanted.team_ids),
            **common,
        }

    def chunk_fields(self, organization: str, name: str) -> dict[str, str]:
        """Return the form fields of a chunk that only this version knows."""
        return {} if self.is_new else {"owningOrganization": organization, "name": name}

    def finish(self, upload_id: str) -> tuple[str, dict[str, str], dict[str, Any] | None]:
        """Return path, query and document of the request that finishes an upload."""
        if self.is_new:
            return f"{self.chunks_path}/finishUpload", {"uploadId": upload_id}, None
        body = {"uploadId": upload_id, "needsConversion": False}
        return f"{self.chunks_path}/finishUpload", {}, body

    def finished_id(self, document: Any) -> str:
        """Return the dataset's id out of the answer to it; empty if none stands there."""
        if not isinstance(document, dict):
            return ""
        found = document.get("datasetId") or document.get("newDatasetId")
        return found if isinstance(found, str) else ""

    def cancel(self, upload_id: str) -> tuple[str, dict[str, str], dict[str, Any]]:
        """Return path, query and document of the request that gives an upload up."""
        query = {"uploadId": upload_id} if self.is_new else {}
        return f"{self.chunks_path}/cancelUpload", query, {"uploadId": upload_id}
