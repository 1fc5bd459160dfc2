"""A daemon among instruments that write in all the ways they do, all at the same time."""

import random
import threading
from pathlib import Path

import pytest

from stackwatch.ledger.records import DatasetRecord
from stackwatch.model.job import DatasetState
from stackwatch.testing.crashes import list_datasets
from stackwatch.testing.instruments import BEHAVIOURS, Desk
from stackwatch.testing.service import ServiceBench, bench

GAP_S = 0.5
FILES = {f"slice_{z}.tif": bytes([z + 1]) * 700 for z in range(4)}


@pytest.fixture
def service(tmp_path: Path):
    """A running daemon."""
    with bench(tmp_path, folder="reserve_gib = 0", daemon="workers = 2") as made:
        text = made.config.read_text().replace("quiet_gap_s = 0.2", f"quiet_gap_s = {GAP_S}")
        made.config.write_text(text)
        (tmp_path / "outside").mkdir()
        made.start()
        yield made


def current(service: ServiceBench, key: str) -> list[DatasetRecord]:
    """Return the published datasets of an acquisition that none has superseded."""
    found = [one for one in list_datasets(service) if one.key == key]
    return [one for one in found if one.state is DatasetState.PUBLISHED]


def content_of(place: Path) -> bytes:
    """Return what the stand-in makes of an acquisition's files."""
    names = sorted(path for path in place.rglob("*") if path.suffix in (".tif", ".json"))
    return b"".join(path.read_bytes() for path in names if not path.name.startswith("."))


def is_done(service: ServiceBench, key: str) -> bool:
    """Tell whether the current dataset of an acquisition holds its final files."""
    found = current(service, key)
    expected = content_of(service.drop / key)
    return len(found) == 1 and (found[0].path / "data").read_bytes() == expected


def test_whatever_an_instrument_does_its_final_files_are_published(service, tmp_path):
    """E1, E2, E3, E4, E5, E6, E7, E8, E9, E13, E14, E15, D1: sixteen habits, all at once."""
    desks = {
        name: Desk(service.drop / name, tmp_path / "outside", random.Random(7), GAP_S)
        for name in BEHAVIOURS
    }
    instruments = [
        threading.Thread(target=behaviour, args=(desks[name], FILES))
        for name, behaviour in BEHAVIOURS.items()
    ]
    for instrument in instruments:
        instrument.start()
    for instrument in instruments:
        instrument.join()

    service.wait_until(lambda: all(is_done(service, name) for name in BEHAVIOURS), timeout_s=90)

    assert 0 == service.stop()
    published = [one for one in list_datasets(service) if one.published_at_us is not None]
    assert len({(one.key, one.generation) for one in published}) == len(published)
    digests = [(one.key, one.content_digest) for one in published]
    assert len(set(digests)) == len(digests), "a content was published twice"
