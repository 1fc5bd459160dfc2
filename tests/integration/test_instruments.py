"""A daemon among instruments that write in all the ways they do, all at the same time."""

import random
import threading
from pathlib import Path

import pytest

from stackwatch.ledger.records import DatasetRecord
from stackwatch.model.job import DatasetState
from stackwatch.testing.crashes import list_datasets, list_jobs
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

    service.wait_until(lambda: all(is_done(service, name) for name in BEHAVIOURS))

    assert 0 == service.stop()
    published = [one for one in list_datasets(service) if one.published_at_us is not None]
    assert len({(one.key, one.generation) for one in published}) == len(published)
    digests = [(one.key, one.content_digest) for one in published]
    assert len(set(digests)) == len(digests), "a content was published twice"


def test_another_content_under_the_same_name_is_the_next_generation(service):
    """D4: dropped, published, deleted, and dropped again with other bytes of equal size."""
    service.drop_acquisition("run", FILES)
    service.wait_until(lambda: is_done(service, "run"))
    place = service.drop / "run"
    place.rename(service.root / "first")
    service.wait_until(lambda: len(service.events("acquisition.vanished")) == 1)
    service.drop_acquisition("run", {name: data[::-1] + b"!" for name, data in FILES.items()})

    service.wait_until(lambda: is_done(service, "run"))

    assert [2] == [one.generation for one in current(service, "run")]
    assert ["run", "run-r2"] == [name for name in service.datasets() if name[0] != "."]
    assert 2 == len(list_jobs(service))


def test_a_copy_under_another_name_is_another_acquisition(service):
    """D5: the same bytes in another folder get a dataset of their own; the first stays as it is."""
    service.drop_acquisition("run", FILES)
    service.wait_until(lambda: is_done(service, "run"))
    before = (service.target / "run" / "stackwatch.json").read_bytes()

    service.drop_acquisition("copy of run", FILES)

    service.wait_until(lambda: is_done(service, "copy of run"))
    assert before == (service.target / "run" / "stackwatch.json").read_bytes()
    first, second = (current(service, key)[0] for key in ("run", "copy of run"))
    assert first.content_digest == second.content_digest
    assert first.path != second.path
