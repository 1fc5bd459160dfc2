"""Deliver a published dataset to WEBKNOSSOS: once, whole, with where it comes from.

What the kinds of delivery have in common is here: the dataset must still be what was verified; a
run that is on the server already is not sent again; what arrived is compared with what lies here;
tags, provenance and the run's id become its metadata. In between, `webknossos.upload`, `register`
or `paths` brings it there.
"""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from stackwatch.errors import (
    DeliveryRefusedError,
    DeliveryUnauthorizedError,
    VerificationError,
)
from stackwatch.failpoints import reach
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import (
    Delivered,
    DeliveryKind,
    DeliveryProgress,
    DeliveryRequest,
    UploadRecord,
)
from stackwatch.pipeline.delivery_journal import FOR_ALL, DeliveryJournal
from stackwatch.pipeline.manifest import check_manifest, load_manifest
from stackwatch.pipeline.probes import iter_probes
from stackwatch.pipeline.provenance import provenance_facts
from stackwatch.stores.objects import objects_of
from stackwatch.webknossos.connection import Connection, connect
from stackwatch.webknossos.local import LocalDataset, survey_dataset
from stackwatch.webknossos.parcel import Parcel, Reporting, Shipped
from stackwatch.webknossos.patience import Patience, Waiting
from stackwatch.webknossos.places import ensure_folder, find_teams, fit_name
from stackwatch.webknossos.remote import (
    RUN_ID_KEY,
    RemoteDataset,
    describe,
    find_run,
    link_of,
    look_up,
    mark_superseded,
    remove,
    share_with,
)
from stackwatch.webknossos.token import Token, find_token
from stackwatch.webknossos.verify import first_mismatch, iter_differences

_MOST_TRIES: Final = 2
"""So often a dataset is brought there, or described, should something else arrive than was sent."""

Bring = Callable[[Connection, Parcel, Reporting], Shipped]

_BRINGERS: Final[dict[DeliveryKind, tuple[str, str]]] = {
    "upload": ("stackwatch.webknossos.upload", "upload_parcel"),
    "register": ("stackwatch.webknossos.register", "register_parcel"),
    "paths": ("stackwatch.webknossos.paths", "place_parcel"),
}


def deliver(
    request: DeliveryRequest,
    journal: DeliveryJournal,
    *,
    token: Token | None = None,
    waiting: Waiting | None = None,
) -> Delivered:
    """Deliver one dataset.

    May be called again after whatever happened, with the last record in the request: it goes on
    from there, and there is one dataset on the server in the end.

    Parameters
    ----------
    request : DeliveryRequest
    journal : DeliveryJournal
    token : Token or None
        None looks where the request's server says, and in the environment.
    waiting : Waiting or None
        How long and how often; None takes the defaults.

    Returns
    -------
    Delivered
        Recorded as `described` before it is returned.

    Raises
    ------
    DeliveryUnavailableError
        The server does not answer: call again later.
    DeliveryUnauthorizedError
        The token is not taken: no delivery works until that is mended.
    DeliveryRefusedError
        The server, or we, refuse this dataset: a human is needed.
    CancelledError
        Stopped on request: call again to go on.
    """
    patience = Patience(finish_timeout_s=request.server.finish_timeout_s)
    waiting = waiting or Waiting(journal.cancelled, patience)
    if request.kind == "paths":
        from stackwatch.webknossos.paths import mend_moves

        mend_moves(request)
    manifest = checked_manifest(request)
    _require_bytes(request)
    token = token or find_token(request.server.token_file)
    data_version = request.record.api_version if request.record is not None else 0
    with _greeted(request, token, waiting, data_version) as connection:
        return _Delivery(connection, request, journal, manifest).run()


def _greeted(
    request: DeliveryRequest, token: Token, waiting: Waiting, data_version: int
) -> Connection:
    try:
        return connect(request.server, token, waiting, data_version)
    except DeliveryRefusedError as error:
        error.values[FOR_ALL] = True  # a certificate, a version: no dataset is to blame
        raise


def checked_manifest(request: DeliveryRequest) -> dict[str, Any]:
    """Return the manifest of a dataset that is what was published: every shard has its size.

    Raises
    ------
    DeliveryRefusedError
        It is not, or another dataset has taken its place.
    """
    dataset = request.dataset
    try:
        manifest, shards = load_manifest(dataset)
        check_manifest(dataset, shards, manifest.get("metadata_crc32c", {}), reads_all=False)
    except VerificationError as error:
        raise DeliveryRefusedError(
            f"{error.message} It is not delivered.", hint=error.hint, **error.values
        ) from error
    if request.run_id and manifest.get("run_id") != request.run_id:
        hint = "Nothing, if it was replaced on purpose; else convert the acquisition again."
        raise DeliveryRefusedError(
            f"“{show_path(dataset)}” is not the dataset that was published there before. It is not "
            f"delivered. {hint}",
            hint=hint,
            path=show_path(dataset),
        )
    return manifest


def _require_bytes(request: DeliveryRequest) -> None:
    """Refuse to send a dataset whose folder holds only metadata: black would arrive."""
    objects = objects_of(request.dataset) if request.kind != "register" else None
    if objects is not None:
        hint = 'Set `delivery = "register"`: the server reads it where it is.'
        raise DeliveryRefusedError(
            f"“{show_path(request.dataset)}” lies in a bucket, {objects.url}: there is nothing "
            f"here to send. {hint}",
            hint=hint,
            path=show_path(request.dataset),
        )


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A dataset on the server, and what bringing it there took."""

    remote: RemoteDataset
    record: UploadRecord
    sent_bytes: int = 0
    warnings: tuple[str, ...] = ()


class _Delivery:
    def __init__(
        self,
        connection: Connection,
        request: DeliveryRequest,
        journal: DeliveryJournal,
        manifest: dict[str, Any],
    ) -> None:
        self._connection = connection
        self._request = request
        self._journal = journal
        self._manifest = manifest
        self._run_id = request.run_id or str(manifest.get("run_id", ""))
        self._warnings: list[str] = []

    def run(self) -> Delivered:
        clock = self._connection.waiting.clock
        began = clock.monotonic()
        require_rights(self._connection)
        version = self._connection.greeting.data_version
        local = survey_dataset(self._request.dataset, version)
        parcel = self._address(local)
        arrived = self._find_known() or self._find_delivered(parcel) or self._bring(parcel)
        self._describe(parcel, arrived)
        return Delivered(
            remote_id=arrived.remote.id,
            link=link_of(self._connection.greeting.url, arrived.remote.id),
            name=arrived.remote.name,
            sent_bytes=arrived.sent_bytes,
            seconds=clock.monotonic() - began,
            warnings=(*arrived.warnings, *self._warnings),
        )

    def _address(self, local: LocalDataset) -> Parcel:
        """Find folder, teams and name; an upload that was begun keeps those it has."""
        request, record = self._request, self._request.record
        teams = find_teams(self._connection, request.teams)
        if record is not None and record.name and self._is_begun(record):
            return Parcel(request, local, record.name, record.folder_id, teams)
        name = fit_name(self._connection, request.name or local.name)
        folder_id = ""
        if request.remote_folder:
            place = ensure_folder(self._connection, request.remote_folder)
            folder_id = place.folder_id
            if place.is_ambiguous:
                self._warnings.append(
                    f"There are two folders “{request.remote_folder}” in WEBKNOSSOS; the first was "
                    "taken."
                )
        return Parcel(request, local, name, folder_id, teams)

    def _is_begun(self, record: UploadRecord) -> bool:
        """Tell whether the server may have heard of it; what it refused may go elsewhere."""
        is_same = record.organization in {"", self._connection.account.organization}
        return is_same and (record.stage != "planned" or not record.upload_id)

    def _find_known(self) -> _Arrived | None:
        """Return what was described before, whatever the record knows; it is people's since."""
        record = self._request.record
        if record is None or not record.remote_id:
            return None
        found = look_up(self._connection, record.remote_id)
        if found is None or not found.is_active:
            return None
        known = _Arrived(found, record)
        return known if record.stage == "described" or self._is_described(found) else None

    def _is_described(self, remote: RemoteDataset) -> bool:
        """Tell whether a dataset has all that we say of it: the run's id comes with the rest."""
        return bool(self._run_id) and remote.run_id == self._run_id

    def _find_delivered(self, parcel: Parcel) -> _Arrived | None:
        """Return what an earlier attempt delivered, if nobody remembers it but the server."""
        record = self._request.record
        if record is not None and record.remote_id:
            return None  # its own record says where it is, and how far
        found = find_run(self._connection, parcel.name, self._run_id)
        if found is None:
            return None
        greeting = self._connection.greeting
        known = UploadRecord(
            stage="finished",
            kind=self._request.kind,
            api_version=greeting.data_version,
            datastore_url=greeting.datastore.url,
            organization=greeting.account.organization,
            folder_id=parcel.folder_id,
            name=found.name,
            files_digest=parcel.local.digest,
            remote_id=found.id,
        )
        self._journal.record(known)
        return _Arrived(found, known)

    def _bring(self, parcel: Parcel) -> _Arrived:
        """Bring the dataset there and compare it; what arrived damaged is brought once more."""
        bring = bringer(self._request.kind)
        sent, warnings, problem = 0, [], ""
        for _ in range(_MOST_TRIES):
            shipped = bring(self._connection, parcel, self._journal)
            sent += shipped.sent_bytes
            warnings += list(shipped.warnings)
            remote, problem = self._compare(parcel.local, shipped)
            if remote is not None and not problem:
                reach("delivery.verified")
                return _Arrived(remote, shipped.record, sent, tuple(warnings))
            warnings.append(
                f"What arrived was not what was sent ({problem}); it was sent once more."
            )
            parcel = self._discard(parcel, shipped, remote)
        server = self._connection.greeting.datastore.url
        hint = f"Look at the disk of {server}, then deliver again."
        raise DeliveryRefusedError(
            f"What {server} shows is not what was sent, twice: {problem}. {hint}",
            hint=hint,
            server=server,
        )

    def _compare(self, local: LocalDataset, shipped: Shipped) -> tuple[RemoteDataset | None, str]:
        """Return the dataset as the server shows it, and in what it differs; empty: in nothing."""
        total = local.total_bytes
        progress = DeliveryProgress("finished", total, total)
        self._journal.progress(progress)
        remote_id = shipped.record.remote_id
        remote = look_up(self._connection, remote_id) if remote_id else None
        if remote is None:
            return None, "the server does not show it"
        differences = list(iter_differences(remote, local))
        if differences:
            return remote, "; ".join(differences[:3])
        probes = iter_probes(local, shipped.doubtful)
        wrong = first_mismatch(
            self._connection,
            remote.id,
            probes,
            lambda count: self._journal.progress(replace(progress, compared=count)),
        )
        return remote, "" if wrong is None else f"other voxels in {wrong}"

    def _discard(self, parcel: Parcel, shipped: Shipped, remote: RemoteDataset | None) -> Parcel:
        """Remove what arrived damaged, and return the parcel for another try.

        Raises
        ------
        DeliveryRefusedError
            It was described before: it may have been changed by people, and is left to them.
        """
        if remote is not None and remote.run_id:
            link = link_of(self._connection.greeting.url, remote.id)
            raise DeliveryRefusedError(
                f"{link} was delivered before and is not what lies here any more. It was not "
                "touched: somebody may have changed it on purpose. Delete it there to have it "
                "delivered anew.",
                hint="Delete it in WEBKNOSSOS to have it delivered anew.",
                link=link,
            )
        gone = remote is None or remove(self._connection, remote.id)
        if not gone and remote is not None:
            self._warnings.append(
                f"{link_of(self._connection.greeting.url, remote.id)} is damaged and could not be "
                "deleted; delete it in WEBKNOSSOS."
            )
        # a record of nothing: what was sent may not be gone on with
        fresh = UploadRecord("planned", parcel.request.kind)
        self._journal.record(replace(fresh, name=parcel.name, folder_id=parcel.folder_id))
        return replace(parcel, request=replace(parcel.request, record=None))

    def _describe(self, parcel: Parcel, arrived: _Arrived) -> None:
        """Give the dataset its tags and where it comes from; the older ones their tag."""
        request, remote = self._request, arrived.remote
        is_theirs = arrived.record.stage == "described" or self._is_described(remote)
        if parcel.team_ids and request.kind == "register" and not is_theirs:
            share_with(self._connection, remote.id, parcel.team_ids)
        facts = () if is_theirs else tuple(self._facts())
        for _ in range(_MOST_TRIES):  # a proxy may answer in the server's place
            describe(
                self._connection,
                remote,
                tags=request.tags,
                facts=facts,
                description=request.description,
            )
            shown = look_up(self._connection, remote.id) if facts else None
            if shown is None or self._is_described(shown):
                break
        self._warnings += mark_superseded(self._connection, request.supersedes)
        reach("delivery.described")
        self._journal.record(replace(arrived.record, stage="described"))

    def _facts(self) -> Iterable[tuple[str, str]]:
        """Return where the dataset comes from; what the caller knows goes first."""
        told = dict(provenance_facts(self._manifest))
        first = dict(self._request.facts)
        return (
            first | {k: v for k, v in told.items() if k not in first} | {RUN_ID_KEY: self._run_id}
        ).items()


def require_rights(connection: Connection) -> None:
    """Refuse an account that may not upload, before anything is sent.

    Raises
    ------
    DeliveryUnauthorizedError
    """
    account = connection.account
    if account.may_upload:
        return
    hint = "Have it made a dataset manager or a team manager, or use another account's token."
    raise DeliveryUnauthorizedError(
        f"The account {account.name} may not add datasets to {connection.greeting.url}: it is "
        f"neither administrator, dataset manager nor manager of a team. {hint}",
        hint=hint,
        server=connection.greeting.url,
    )


def bringer(kind: DeliveryKind) -> Bring:
    """Return what brings a dataset to the server in this way; the others are never imported."""
    module, name = _BRINGERS[kind]
    bring: Bring = getattr(importlib.import_module(module), name)
    return bring
