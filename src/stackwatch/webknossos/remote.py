"""Datasets on the server: found, looked at, described, removed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stackwatch.errors import (
    DeliveryError,
    DeliveryRefusedError,
    DeliveryUnauthorizedError,
)
from stackwatch.webknossos.connection import Connection

RUN_ID_KEY: Final = "stackwatch_run_id"
SUPERSEDED_TAG: Final = "superseded"
_ABSENT: Final = frozenset({404})
_MOST_LOOKED_AT: Final = 20
_FIRST_COMPACT_ALWAYS: Final = 16


@dataclass(frozen=True, slots=True)
class RemoteDataset:
    """A dataset as WEBKNOSSOS shows it.

    Attributes
    ----------
    id, name : str
    is_active : bool
        Whether it can be opened.
    status : str
        Why it cannot.
    created_ms : int
        The server's clock.
    tags : tuple of str
    metadata : tuple of dict
        `key`, `type`, `value`.
    source : mapping
        Its layers and mags; empty while it has none.
    """

    id: str
    name: str
    is_active: bool
    status: str = ""
    created_ms: int = 0
    tags: tuple[str, ...] = ()
    metadata: tuple[Mapping[str, Any], ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The run of ours that made it; empty if none did."""
        found = [entry.get("value") for entry in self.metadata if entry.get("key") == RUN_ID_KEY]
        return str(found[0]) if found else ""


def parse_dataset(document: Any) -> RemoteDataset:
    """Return a dataset from its JSON, compact or full."""
    found = document if isinstance(document, dict) else {}
    source = found.get("dataSource")
    source = source if isinstance(source, dict) else {}
    status = str(source.get("status") or found.get("status") or "")
    created, tags, entries = found.get("created"), found.get("tags"), found.get("metadata")
    entries = entries if isinstance(entries, list) else []
    return RemoteDataset(
        id=str(found.get("id", "")),
        name=str(found.get("name", "")),
        is_active=found.get("isActive") is True and "status" not in source,
        status=status,
        created_ms=created if isinstance(created, int) else 0,
        tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
        metadata=tuple(entry for entry in entries if isinstance(entry, dict)),
        source={} if "status" in source else source,
    )


def look_up(connection: Connection, dataset_id: str) -> RemoteDataset | None:
    """Return a dataset by its id; None if there is none, or none that this account may see."""
    path = f"datasets/{dataset_id}"
    wanted = "show the dataset"
    answer = connection.ask_api("GET", path, passes=_ABSENT, wanted=wanted, shape=dict)
    return parse_dataset(answer.document) if answer.is_success else None


def list_named(connection: Connection, name: str, *, is_own: bool = False) -> list[RemoteDataset]:
    """Return the datasets of exactly that name, newest first; without their metadata.

    Parameters
    ----------
    connection : Connection
    name : str
    is_own : bool
        Only those that this account made.
    """
    query = {"organizationId": connection.account.organization, "searchQuery": name}
    if is_own:
        query["uploaderId"] = connection.account.user_id
    if connection.greeting.api_version < _FIRST_COMPACT_ALWAYS:
        query["compact"] = "true"
    answer = connection.ask_api("GET", "datasets", query=query, wanted="list datasets", shape=list)
    found = [parse_dataset(entry) for entry in answer.document]
    named = [dataset for dataset in found if dataset.name == name]
    return sorted(named, key=lambda dataset: dataset.created_ms, reverse=True)


def find_run(connection: Connection, name: str, run_id: str) -> RemoteDataset | None:
    """Return the dataset that a run of ours became, if it was delivered before; else None."""
    if not run_id:
        return None
    for listed in list_named(connection, name)[:_MOST_LOOKED_AT]:
        found = look_up(connection, listed.id)
        if found is not None and found.is_active and found.run_id == run_id:
            return found
    return None


def describe(
    connection: Connection,
    dataset: RemoteDataset,
    *,
    tags: Iterable[str] = (),
    facts: Iterable[tuple[str, str]] = (),
    description: str = "",
) -> None:
    """Add tags and metadata to a dataset, and set its description. What people added there stays.

    Nothing is asked for where nothing would change.

    Raises
    ------
    DeliveryUnavailableError, DeliveryRefusedError
    """
    ours, document = dict(facts), dict[str, Any]()
    if ours:
        kept = [dict(entry) for entry in dataset.metadata if entry.get("key") not in ours]
        entries = [{"key": key, "type": "string", "value": value} for key, value in ours.items()]
        document["metadata"] = entries + kept
    wanted = list(dict.fromkeys([*dataset.tags, *tags]))
    if wanted != list(dataset.tags):
        document["tags"] = wanted
    if description:
        document["description"] = description
    if not document:
        return
    path = f"datasets/{dataset.id}/updatePartial"
    connection.ask_api("PATCH", path, document=document, wanted="take the metadata")


def share_with(connection: Connection, dataset_id: str, team_ids: tuple[str, ...]) -> None:
    """Give teams access to a dataset that was not reserved for them."""
    path = f"datasets/{dataset_id}/teams"
    connection.ask_api("PATCH", path, document=list(team_ids), wanted="set the teams")


def mark_superseded(connection: Connection, dataset_ids: Iterable[str]) -> list[str]:
    """Tag older generations; return a warning for each that is gone, or may not be changed."""
    warnings = []
    for dataset_id in dataset_ids:
        try:
            found = look_up(connection, dataset_id)
            if found is not None and SUPERSEDED_TAG not in found.tags:
                document = {"tags": [*found.tags, SUPERSEDED_TAG]}
                path = f"datasets/{dataset_id}/updatePartial"
                connection.ask_api("PATCH", path, document=document, wanted="tag the dataset")
        except (DeliveryRefusedError, DeliveryUnauthorizedError) as error:
            warnings.append(f"The older dataset {dataset_id} was not tagged: {error.message}")
            continue
        if found is None:
            warnings.append(f"The older dataset {dataset_id} is not there any more.")
    return warnings


def remove(connection: Connection, dataset_id: str) -> bool:
    """Delete a dataset that came to nothing; return whether it is gone."""
    path = f"datasets/{dataset_id}"
    try:
        connection.ask_api("DELETE", path, passes=_ABSENT, wanted="delete what was left over")
    except DeliveryError:
        return False
    return True


def link_of(server: str, dataset_id: str) -> str:
    """Return where people open a dataset."""
    return f"{server}/datasets/{dataset_id}"
