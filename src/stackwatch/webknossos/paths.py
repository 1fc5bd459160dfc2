"""Put a dataset into the server's own storage, over a file system that both see.

The server reserves a place for every mag and believes, at the end, that everything is there. It
tells the places only once: they are part of the record.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from stackwatch.errors import DeliveryRefusedError
from stackwatch.failpoints import reach
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import DeliveryRequest, UploadRecord, UploadStage
from stackwatch.webknossos.claims import mag_path
from stackwatch.webknossos.connection import Connection
from stackwatch.webknossos.finishing import CLOCK_SLACK_MS
from stackwatch.webknossos.meter import Meter
from stackwatch.webknossos.parcel import Parcel, Reporting, Shipped, plan_record
from stackwatch.webknossos.path_rules import local_of, plain_path, remote_of
from stackwatch.webknossos.placing import (
    is_same_tree,
    mend_moved,
    place_mag,
    remove_placed,
)
from stackwatch.webknossos.remote import RemoteDataset, link_of, list_named, look_up, remove
from stackwatch.webknossos.transport import Request
from stackwatch.webknossos.verdicts import verdict_of

_REPORT_S: Final = 0.5
_UNPLACED: Final = "Not yet marked as fully uploaded to paths"
_ALREADY: Final = "already marked as usable"
_ENDED: Final = frozenset({"finished", "described"})
_PLACING: Final = frozenset({"reserved", "sending", "finishing"})


def place_parcel(connection: Connection, parcel: Parcel, reporting: Reporting) -> Shipped:
    """Bring a dataset into the server's storage by copying, linking or moving its mags.

    Parameters
    ----------
    connection : Connection
    parcel : Parcel
        Its request says how (`transfer`), and by `path_rules` where the server's paths lie here.
    reporting : Reporting

    Raises
    ------
    DeliveryRefusedError
        The server takes no data by path, its storage is not to be seen here, or a place is taken.
    DeliveryUnavailableError, OutOfSpaceError, WriteError
        Later it goes on from the last record.
    DeliveryUnauthorizedError, CancelledError
    """
    return _Placement(connection, parcel, reporting).run()


def mend_moves(request: DeliveryRequest) -> None:
    """Make a dataset whole again whose mags an earlier attempt was moving when it was killed.

    To be called before the dataset is looked at.
    """
    record = request.record
    if record is not None and record.kind == "paths" and record.places:
        for path, place in json.loads(record.places).items():
            mend_moved(request.dataset / path, local_of(request.path_rules, place))


class _Placement:
    def __init__(self, connection: Connection, parcel: Parcel, reporting: Reporting) -> None:
        self._connection = connection
        self._parcel = parcel
        self._local = parcel.local
        self._reporting = reporting
        self._wait = connection.waiting
        self._meter = Meter(parcel.local.total_bytes, connection.waiting.clock)
        self._reported_at = float("-inf")
        self._warnings: list[str] = []

    def run(self) -> Shipped:
        record = self._begin(self._parcel.request.record)
        if record.stage == "planned":
            record = self._reserve(record)
        if record.stage not in _ENDED:
            record = self._finish(self._place(record))
        return Shipped(record, self._meter.sent_bytes, (), tuple(self._warnings))

    def _begin(self, record: UploadRecord | None) -> UploadRecord:
        """Return the record to go on from; what an earlier attempt left for nothing is removed."""
        if record is None or record.kind != "paths":
            return plan_record(self._connection, self._parcel)
        greeting = self._connection.greeting
        if record.organization != greeting.account.organization:
            return plan_record(self._connection, self._parcel)
        found = look_up(self._connection, record.remote_id) if record.remote_id else None
        is_same = record.files_digest == self._local.digest and record.places
        if is_same and found is not None:
            if found.is_active:
                return record if record.stage in _ENDED else self._record(record, "finished")
            if record.stage in _PLACING and found.status.startswith(_UNPLACED):
                return record
        self._remove_left_over(record, found)
        return plan_record(self._connection, self._parcel)

    def _remove_left_over(self, record: UploadRecord, found: RemoteDataset | None) -> None:
        """Delete rows that an earlier attempt reserved, and that nothing will ever come to."""
        earliest = record.reserved_at_ms - CLOCK_SLACK_MS
        left = [] if found is None or found.is_active else [found]
        if record.stage == "planned":
            named = list_named(self._connection, record.name, is_own=True)
            left = [dataset for dataset in named if dataset.created_ms >= earliest]
        for dataset in left:
            if not dataset.status.startswith(_UNPLACED) or dataset.run_id:
                continue
            if not remove(self._connection, dataset.id):
                link = link_of(self._connection.greeting.url, dataset.id)
                self._warnings.append(
                    f"{link} is left from an attempt that came to nothing; delete it in WEBKNOSSOS."
                )
            elif dataset.id == record.remote_id and record.places:
                self._take_back(record)

    def _take_back(self, record: UploadRecord) -> None:
        """Remove what was put where a dataset will never be; but nothing that was moved."""
        if self._parcel.request.transfer == "move":
            return
        for place in json.loads(record.places).values():
            if record.remote_id in place:
                remove_placed(local_of(self._parcel.request.path_rules, place))

    # ------------------------------------------------------------ the stages

    def _reserve(self, record: UploadRecord) -> UploadRecord:
        record = self._record(record, "planned")
        reach("delivery.planned")
        properties = self._local.properties
        source = properties | {"id": {"name": record.name, "team": record.organization}}
        document: dict[str, Any] = {
            "datasetName": record.name,
            "initialTeamIds": list(self._parcel.team_ids),
            "requireUniqueName": False,
            "layersToLink": [],
            "dataSource": source,
        }
        document |= {"folderId": record.folder_id} if record.folder_id else {}
        # not sent again by itself: each time would reserve another dataset
        url = self._connection.api_url("datasets/reserveUploadToPaths")
        request = Request("POST", url, document=document)
        wanted = "reserve places for the data"
        found = self._connection.demand_once(request, wanted, shape=dict).document
        reach("delivery.reserved")
        places = parse_places(self._local.properties, found.get("dataSource") or {})
        return self._record(
            replace(
                record,
                remote_id=str(found.get("newDatasetId", "")),
                places=json.dumps(places, ensure_ascii=False),
            ),
            "reserved",
        )

    def _place(self, record: UploadRecord) -> UploadRecord:
        places: dict[str, str] = json.loads(record.places)
        targets = {
            path: local_of(self._parcel.request.path_rules, place) for path, place in places.items()
        }
        self._check_storage(record, targets)
        record = self._record(record, "sending")
        reach("delivery.id_recorded")
        for path, target in targets.items():
            self._wait.check()
            source = self._local.root.absolute() / path
            transfer = self._parcel.request.transfer
            place_mag(source, target, transfer, self._seen(source), self._count)
            reach("delivery.chunk_sent")
        reach("delivery.chunks_sent")
        return record

    def _check_storage(self, record: UploadRecord, targets: Mapping[str, Path]) -> None:
        """Refuse where the server's storage is not mounted: it would be made up on our own disk.

        Raises
        ------
        DeliveryRefusedError
        """
        for target in targets.values():
            folders = list(target.parents)
            own = next(
                (f for f in folders if record.remote_id and record.remote_id in f.name), None
            )
            above = own.parent.parent if own is not None else target.parent.parent.parent
            if not above.is_dir():
                remove(self._connection, record.remote_id)
                hint = (
                    "Mount it at the same path, or name where it is mounted in `path_map`: "
                    f'"/mnt/wk" = "file://{show_path(above)}".'
                )
                raise DeliveryRefusedError(
                    f"{self._connection.greeting.url} keeps its data in “{show_path(above)}”, "
                    f"which does not exist here. Nothing was written. {hint}",
                    hint=hint,
                    path=show_path(above),
                )

    def _seen(self, source: Path) -> str:
        """Return a path of ours as the server sees it."""
        rules = [r for r in self._parcel.request.path_rules if r.remote.startswith("file://")]
        fitting = [rule for rule in rules if source.is_relative_to(rule.local)]
        return plain_path(remote_of(fitting, source)) if fitting else str(source)

    def _count(self, size: int) -> None:
        self._meter.add_sent(size)
        self._wait.check()
        now = self._wait.clock.monotonic()
        if now - self._reported_at >= _REPORT_S:
            self._reported_at = now
            self._reporting.progress(self._meter.progress("sending"))

    def _finish(self, record: UploadRecord) -> UploadRecord:
        """Have the dataset marked usable; told twice, the server says so and changes nothing."""
        self._check_places(record)
        record = self._record(record, "finishing")
        reach("delivery.finishing")
        path = f"datasets/{record.remote_id}/finishUploadToPaths"
        wanted = "take over the data"
        answer = self._connection.ask_api("POST", path, passes=frozenset({400}), wanted=wanted)
        if not answer.is_success and not answer.complaint.says(_ALREADY):
            raise verdict_of(answer.complaint, wanted, self._connection.greeting.url)
        reach("delivery.finish_answered")
        record = self._record(record, "finished")
        reach("delivery.finished")
        return record

    def _check_places(self, record: UploadRecord) -> None:
        """Look at what the server does not look at: that every mag is there, with all its files.

        A link is not followed: its other end may be the server's to see only.
        """
        for path, place in json.loads(record.places).items():
            target = local_of(self._parcel.request.path_rules, place)
            if target.is_symlink():
                continue
            if not is_same_tree(self._local.root / path, target):
                raise DeliveryRefusedError(
                    f"“{show_path(target)}” does not hold the files of “{path}”. The dataset was "
                    "not given to the server. Remove what lies there, and try again.",
                    hint=f"Remove “{show_path(target)}”, and try again.",
                    path=show_path(target),
                )

    def _record(self, record: UploadRecord, stage: UploadStage) -> UploadRecord:
        record = replace(record, stage=stage)
        self._reporting.record(record)
        return record


def parse_places(properties: Mapping[str, Any], reserved: Mapping[str, Any]) -> dict[str, str]:
    """Return where the server wants each mag: path in the dataset to the server's path. Pure.

    Raises
    ------
    DeliveryRefusedError
        It does not name a place for every mag.
    """
    places = {key: str(mag.get("path") or "") for key, _, mag in _iter_mags(reserved)}
    found = {
        mag_path(layer, mag): places.get(key, "") for key, layer, mag in _iter_mags(properties)
    }
    missing = [path for path, place in found.items() if not place]
    if missing:
        raise DeliveryRefusedError(
            f"The server named no place for {', '.join(missing)}. Nothing was written. Use "
            '`delivery = "upload"`.',
            hint='Use `delivery = "upload"`.',
        )
    return found


def _iter_mags(
    source: Mapping[str, Any],
) -> Iterator[tuple[tuple[str, tuple[int, ...]], dict[str, Any], dict[str, Any]]]:
    """Yield layer name and mag, layer, and the mag's entry."""
    for layer in source.get("dataLayers") or ():
        for mag in layer.get("mags") or ():
            yield (str(layer.get("name")), tuple(mag["mag"])), layer, mag
