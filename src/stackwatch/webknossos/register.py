"""Register a dataset that the server reads where it lies: nothing is sent.

The server explores the address and takes layers and mags from `datasource-properties.json`. Where
it cannot explore, it is told every mag's address, and then has to show that it can read there.

Adding is one request that is not idempotent. It is recorded before it is sent, and where its
answer gets lost, the dataset is looked for by name, time and the addresses of its mags.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from stackwatch.errors import DeliveryRefusedError, DeliveryUnavailableError
from stackwatch.failpoints import reach
from stackwatch.model.delivery import UploadRecord, UploadStage
from stackwatch.webknossos.claims import mag_path
from stackwatch.webknossos.connection import Connection, quoted
from stackwatch.webknossos.finishing import CLOCK_SLACK_MS
from stackwatch.webknossos.parcel import Parcel, Reporting, Shipped, plan_record
from stackwatch.webknossos.path_rules import plain_path, remote_of
from stackwatch.webknossos.remote import RemoteDataset, list_named, look_up, remove
from stackwatch.webknossos.server_time import server_ms
from stackwatch.webknossos.transport import Answer, Request
from stackwatch.webknossos.verdicts import verdict_of

EXPLORE_S: Final = 600.0
"""So long a server may look around at a slow address."""
_FIRST_POLL_S: Final = 1.0
_NOT_EXPLORED: Final = ("Could not explore", "Explored dataset has no layers")
_ENDED: Final = frozenset({"finished", "described"})
_WANTED: Final = "register the dataset"


def register_parcel(connection: Connection, parcel: Parcel, reporting: Reporting) -> Shipped:
    """Have the server read a dataset where it lies.

    Parameters
    ----------
    connection : Connection
    parcel : Parcel
        Its request's `path_rules` say where the server finds the dataset.
    reporting : Reporting

    Raises
    ------
    DeliveryRefusedError
        No rule fits, or the server cannot read there; a human is needed.
    DeliveryUnavailableError
        Later it goes on from the last record.
    DeliveryUnauthorizedError, CancelledError
    """
    return _Registration(connection, parcel, reporting).run()


class _Registration:
    def __init__(self, connection: Connection, parcel: Parcel, reporting: Reporting) -> None:
        self._connection = connection
        self._parcel = parcel
        self._reporting = reporting
        self._url = remote_of(parcel.request.path_rules, parcel.local.root.absolute())
        self._wait = connection.waiting

    def run(self) -> Shipped:
        record = self._parcel.request.record
        if record is not None and self._is_ours(record):
            found = self._recovered(record)
            if found:
                return self._shipped(record, found)
        record = self._record(plan_record(self._connection, self._parcel), "planned")
        reach("delivery.planned")
        record = self._record(record, "finishing")
        reach("delivery.finishing")
        remote_id = self._add(record)
        reach("delivery.finish_answered")
        return self._shipped(record, remote_id)

    def _is_ours(self, record: UploadRecord) -> bool:
        """Tell whether a record is about this very dataset at this server."""
        account = self._connection.account
        return (
            record.kind == "register"
            and record.files_digest == self._parcel.local.digest
            and record.organization == account.organization
            and record.datastore_url == self._connection.greeting.datastore.url
        )

    def _recovered(self, record: UploadRecord) -> str:
        """Return the id of what an earlier attempt added; empty if it added nothing."""
        if record.stage in _ENDED:
            known = look_up(self._connection, record.remote_id)
            return known.id if known is not None and known.is_active else ""
        return self._awaited(record) if record.stage == "finishing" else ""

    def _awaited(self, record: UploadRecord) -> str:
        """Look for what a request with a lost answer added, as long as it may be at work."""
        pause_s = _FIRST_POLL_S
        while True:
            found = self._find(record)
            if found is not None:
                return found.id
            age_s = (server_ms(self._connection) - record.reserved_at_ms) / 1000
            left_s = self._wait.patience.settle_s - age_s
            if left_s <= 0:
                return ""
            self._wait.pause(min(pause_s, left_s))
            pause_s = min(2 * pause_s, self._wait.patience.poll_s)

    def _find(self, record: UploadRecord) -> RemoteDataset | None:
        """Return the oldest dataset of ours since then that lies at the same address."""
        earliest = record.reserved_at_ms - CLOCK_SLACK_MS
        for listed in reversed(list_named(self._connection, record.name, is_own=True)):
            if listed.created_ms < earliest:
                continue
            found = look_up(self._connection, listed.id)
            if found is None or not found.is_active:
                continue
            is_free = found.run_id in {"", self._parcel.request.run_id}
            if is_free and lies_at(found.source, self._url):
                return found
        return None

    # ------------------------------------------------------------ the request

    def _add(self, record: UploadRecord) -> str:
        store = self._connection.greeting.datastore.name
        document = {"remoteUri": self._url, "datasetName": record.name}
        document |= {"dataStoreName": store} if store else {}
        document |= {"folderId": record.folder_id} if record.folder_id else {}
        answer = self._post("datasets/exploreAndAddRemote", document, record)
        if answer is None:
            return self._settled(record)
        if answer.is_success:
            remote_id = answer.document if isinstance(answer.document, str) else ""
            remote_id = remote_id or self._settled(record)  # what named no dataset was a proxy
            self._ensure_folder(remote_id, record.folder_id)
            return remote_id
        complaint = answer.complaint
        is_unknown_route = answer.status in {404, 405}
        if not (is_unknown_route or complaint.says(*_NOT_EXPLORED)):
            raise verdict_of(complaint, _WANTED, self._connection.greeting.url)
        return self._add_described(record, answer)

    def _add_described(self, record: UploadRecord, explored: Answer) -> str:
        """Tell the server every mag's address, and have it show that it can read there."""
        document: dict[str, Any] = {
            "dataSource": described_source(self._parcel, self._url, record.organization),
            "dataStoreName": self._connection.greeting.datastore.name,
            "importUrl": self._url,
        }
        document |= {"folderId": record.folder_id} if record.folder_id else {}
        answer = self._post(f"datasets/addVirtualDataset/{quoted(record.name)}", document, record)
        if answer is None:
            remote_id = self._settled(record)
        elif answer.is_success:
            added = answer.document
            remote_id = str(added.get("newDatasetId", "")) if isinstance(added, dict) else ""
            remote_id = remote_id or self._settled(record)
        else:
            raise self._unreadable(explored)
        health = Request("GET", self._connection.api_url(f"datasets/{remote_id}/health"))
        if not self._connection.ask(health).is_success:
            remove(self._connection, remote_id)
            raise self._unreadable(explored)
        return remote_id

    def _post(self, path: str, document: Mapping[str, Any], record: UploadRecord) -> Answer | None:
        """Ask once; None if nobody knows what came of it."""
        url = self._connection.api_url(path)
        request = Request("POST", url, document=dict(document), answer_s=EXPLORE_S)
        try:
            return self._connection.demand_once(request, _WANTED, frozenset({400, 404, 405}))
        except DeliveryUnavailableError as error:
            if error.values.get("was_sent") is False:
                self._record(record, "planned")  # it has not begun, and that must be known
                raise
            return None

    def _settled(self, record: UploadRecord) -> str:
        remote_id = self._awaited(record)
        if remote_id:
            return remote_id
        self._record(record, "planned")
        raise DeliveryUnavailableError(
            f"{self._connection.greeting.url} did not say whether it registered “{record.name}”, "
            "and does not show it. It is tried again.",
            hint="Nothing: it is tried again.",
        )

    def _unreadable(self, explored: Answer) -> DeliveryRefusedError:
        scheme = self._url.partition("://")[0]
        hint = (
            "Check `path_map`, and that the server's settings allow it to read below that folder."
            if scheme == "file"
            else "Check `path_map`, and that the server reaches this address."
        )
        server = self._connection.greeting.url
        told = explored.complaint.text.rstrip(".")
        return DeliveryRefusedError(
            f"{server} cannot read “{self._url}”: {told}. Nothing was registered. {hint}",
            hint=hint,
            server=server,
            url=self._url,
        )

    def _ensure_folder(self, remote_id: str, folder_id: str) -> None:
        """Move it where it belongs: servers before 2026 put what they explore into the root."""
        if not folder_id:
            return
        path = f"datasets/{remote_id}"
        shown = self._connection.ask_api("GET", path, wanted="show the dataset").document
        if isinstance(shown, dict) and shown.get("folderId") != folder_id:
            document = {"folderId": folder_id}
            self._connection.ask_api(
                "PATCH", f"{path}/updatePartial", document=document, wanted="move the dataset"
            )

    # ------------------------------------------------------------ the record

    def _record(self, record: UploadRecord, stage: UploadStage) -> UploadRecord:
        record = replace(record, stage=stage)
        self._reporting.record(record)
        return record

    def _shipped(self, record: UploadRecord, remote_id: str) -> Shipped:
        if record.stage not in _ENDED:
            record = self._record(replace(record, remote_id=remote_id), "finished")
            reach("delivery.finished")
        return Shipped(record)


def described_source(parcel: Parcel, url: str, organization: str) -> dict[str, Any]:
    """Return a dataset's properties with the address of every mag."""
    properties = parcel.local.properties
    layers = [
        layer
        | {
            "mags": [
                mag | {"path": f"{url}/{quoted_path(mag_path(layer, mag))}"}
                for mag in layer["mags"]
            ]
        }
        for layer in properties["dataLayers"]
    ]
    identity = {"name": parcel.name, "team": organization}
    return properties | {"id": identity, "dataLayers": layers}


def quoted_path(path: str) -> str:
    """Return a relative path as part of an address."""
    return "/".join(quoted(part) for part in path.split("/"))


def lies_at(source: Mapping[str, Any], url: str) -> bool:
    """Tell whether all mags of a data source lie below an address."""
    base = plain_path(url).rstrip("/") + "/"
    layers = source.get("dataLayers") or ()
    paths = [str(mag.get("path", "")) for layer in layers for mag in layer.get("mags") or ()]
    return bool(paths) and all(plain_path(path).startswith(base) for path in paths)
