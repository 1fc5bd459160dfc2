"""A file with several images becomes several datasets: all or none, in order, each its own."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from stackwatch.errors import (
    MissingMetadataError,
    StackwatchError,
    TargetExistsError,
    VerificationError,
)
from stackwatch.model.flags import ConvertFlags
from stackwatch.pipeline.compare import digest_acquisition
from stackwatch.pipeline.convert import ConvertRequest, convert_acquisition
from stackwatch.pipeline.inspect import inspect_acquisition
from stackwatch.pipeline.journal import PublishFact, SilentJournal
from stackwatch.pipeline.request import EarlierDataset
from stackwatch.pipeline.verify import verify_dataset
from stackwatch.testing.mags import stored_files
from stackwatch.testing.volumes import write_dm
from tests.unit.pipeline.conftest import Interference

IMAGES: dict[str, np.ndarray] = {
    "A": np.arange(5 * 20 * 30, dtype=np.uint16).reshape(5, 20, 30),
    "B": np.arange(3 * 9 * 7, dtype=np.uint8).reshape(3, 9, 7),
    "C": np.arange(12 * 11, dtype=np.int16).reshape(1, 12, 11),
}


def write_images(path: Path, images: dict[str, np.ndarray] = IMAGES) -> Path:
    """Write an OME-TIFF with several images."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name, image_zyx in images.items():
            told = {"axes": "ZYX", "Name": name, "PhysicalSizeX": 0.1 * (1 + len(image_zyx))}
            writer.write(image_zyx, photometric="minisblack", metadata=told)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a file with three images."""
    return write_images(tmp_path / "run.ome.tif")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the folder the datasets come into."""
    (tmp_path / "datasets").mkdir()
    return tmp_path / "datasets"


def request_of(source: Path, place: Path, **flags: Any) -> ConvertRequest:
    """Return a conversion into `place`/out."""
    given = {"voxel_size_nm": (None, 11, 25), "chunk": 8, "threads": 2, **flags}
    return ConvertRequest(source, place / "out", ConvertFlags(**given).options())


def names_in(place: Path) -> list[str]:
    """Return what lies in a folder."""
    return sorted(path.name for path in place.iterdir())


def voxels_of(dataset: Path, group: str = "color") -> np.ndarray:
    """Return mag 1 of a dataset as z, y, x."""
    stored = np.asarray(zarr.open_array(dataset / group / "1", mode="r")[0])
    return stored.transpose(2, 1, 0)


def test_each_image_becomes_a_dataset(source, place, interference: Interference):
    """Voxels, voxel size and names are each image's own; one digest is taken of the whole file."""
    result = convert_acquisition(request_of(source, place), interference)

    assert ["out_A", "out_B", "out_C"] == names_in(place)
    assert ["out_A", "out_B", "out_C"] == [dataset.name for dataset in result.datasets]
    for name, image_zyx in IMAGES.items():
        dataset = place / f"out_{name}"
        np.testing.assert_array_equal(image_zyx, voxels_of(dataset))
        assert "verified" == verify_dataset(dataset)["status"]
        manifest = json.loads((dataset / "stackwatch.json").read_text())
        assert (name, result.content_digest, ["run.ome.tif"]) == (
            manifest["scene"],
            manifest["content_digest"],
            list(manifest["files"]),
        )
    assert [600.0, 400.0, 200.0] == [round(d.voxel_size_nm.x, 3) for d in result.datasets]
    assert source.stat().st_size == result.bytes_read
    assert result.bytes_written == sum(d.bytes_written for d in result.datasets)


def test_all_are_announced_before_the_first_is_renamed(source, place, interference: Interference):
    """Then one after the other appears, each with the number of those that follow it."""
    seen: list[list[str]] = []
    for stage in ("publishing", "published"):
        interference.on_fact[stage] = lambda _: seen.append(
            [name for name in names_in(place) if name[0] != "."]
        )
    convert_acquisition(request_of(source, place), interference)
    facts = [(fact.stage, fact.dataset_path.name, fact.remaining) for fact in interference.facts]

    assert [
        (stage, f"out_{name}", left)
        for stage in ("publishing", "published")
        for name, left in (("A", 2), ("B", 1), ("C", 0))
    ] == facts
    assert [[], [], [], ["out_A"], ["out_A", "out_B"], ["out_A", "out_B", "out_C"]] == seen
    assert 3 == len({fact.run_id for fact in interference.facts})


def test_one_image_alone_has_the_plain_name(source, place):
    """`scene` converts one, and its dataset is TARGET itself."""
    convert_acquisition(request_of(source, place, scene="B"), SilentJournal())

    assert ["out"] == names_in(place)
    np.testing.assert_array_equal(IMAGES["B"], voxels_of(place / "out"))


@pytest.mark.parametrize("store", ["zarr3", "wkw"])
def test_images_of_a_dm4_in_a_zip(tmp_path, place, store):
    """Without names they are counted; a zip archive and either format change nothing."""
    images: list[np.ndarray] = [
        np.arange(4 * 6, dtype=np.int16).reshape(4, 6),
        np.ones((3, 5, 7), np.uint8),
    ]
    write_dm(tmp_path / "a.dm4", *images, version=4)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.dm4", "a.dm4")
    flags = {"format": store, "voxel_size_nm": (1, 1, 1)}
    result = convert_acquisition(request_of(tmp_path / "a.zip", place, **flags), SilentJournal())

    assert ["out_1", "out_2"] == names_in(place)
    assert [(6, 4, 1), (7, 5, 3)] == [
        tuple(dataset.layers[0].bounding_box.size) for dataset in result.datasets
    ]
    for name in names_in(place):
        assert "verified" == verify_dataset(place / name)["status"]


# ---------------------------------------------------------------- all or none


def stand_in_the_way(place: Path) -> None:
    """Put something where the last dataset would come."""
    (place / "out_C").mkdir()


def spoil(source: Path) -> Path:
    """Write the file with a last image of a type that is no layer."""
    return write_images(source, {**IMAGES, "C": np.ones((1, 4, 4), np.float64)})


def test_what_stands_in_the_way_of_the_last_is_seen_first(source, place, interference):
    """Nothing is read, nothing is published, and what stands there is not touched."""
    stand_in_the_way(place)
    with pytest.raises(TargetExistsError, match="out_C"):
        convert_acquisition(request_of(source, place), interference)

    assert (["out_C"], []) == (names_in(place), interference.facts)
    assert {"reading"} == {report.phase for report in interference.reports}


def test_an_image_that_cannot_be_converted_holds_up_all(source, place):
    """Of a file with one image that is no layer nothing is published."""
    with pytest.raises(StackwatchError, match="Image “C”"):
        convert_acquisition(request_of(spoil(source), place), SilentJournal())

    assert [] == names_in(place)


@pytest.mark.parametrize("refused", ["out_A", "out_C"])
def test_a_refusal_of_one_is_a_refusal_of_all(source, place, interference, refused):
    """A journal that refuses any of the announcements keeps every dataset from appearing."""

    def refuse(fact: PublishFact) -> None:
        if fact.dataset_path.name == refused:
            raise TargetExistsError("It belongs to another.", hint="Rename it.")

    interference.on_fact["publishing"] = refuse
    with pytest.raises(TargetExistsError):
        convert_acquisition(request_of(source, place), interference)

    assert [] == names_in(place)


def test_damage_to_one_keeps_all_from_appearing(source, place, interference):
    """A shard of the second that is lost before verification: none is published."""

    def damage() -> None:
        (shard,) = place.glob(".stackwatch/*/dataset/out_B/color/1/c/0/0/0/0")
        shard.unlink()

    interference.on_phase["verifying"] = damage
    with pytest.raises(VerificationError):
        convert_acquisition(request_of(source, place), interference)

    assert [] == names_in(place)


# ---------------------------------------------------------------- what was published before


def published_until(place: Path, source: Path, count: int) -> tuple[EarlierDataset, ...]:
    """Publish so many of the datasets, as a job does that is then cut off."""
    done: list[EarlierDataset] = []

    def note(fact: PublishFact) -> None:
        done.append(EarlierDataset(fact.dataset_path, fact.run_id, is_kept=True))
        if len(done) == count:
            raise VerificationError("Cut off.", hint="Go on.")

    journal = Interference(on_fact={"published": note})
    with pytest.raises(VerificationError):
        convert_acquisition(request_of(source, place), journal)
    return tuple(done)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_an_earlier_attempt_published_is_kept(source, place, interference, count):
    """It is neither converted again nor touched, and those that lack are made."""
    kept = published_until(place, source, count)
    before = stored_files(place)
    request = replace(request_of(source, place), earlier=kept)
    result = convert_acquisition(request, interference)

    assert ["out_A", "out_B", "out_C"] == names_in(place)
    assert before.items() <= stored_files(place).items()
    assert [f"out_{name}" for name in "ABC"[count:]] == [d.name for d in result.datasets]
    assert [f"kept: “{one.path}”, published before" for one in kept] == list(result.warnings)
    documents = [json.loads((place / n / "stackwatch.json").read_text()) for n in names_in(place)]
    assert {result.content_digest} == {document["content_digest"] for document in documents}


def test_what_is_kept_is_looked_at(source, place):
    """A kept dataset that is damaged, or made of another content, is said; one removed is not."""
    (kept,) = published_until(place, source, 1)
    request = replace(request_of(source, place), earlier=(kept,))
    shard = next((place / "out_A").glob("color/1/c/*/*/*/*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(VerificationError, match="out_A"):
        convert_acquisition(request, SilentJournal())
    shard.write_bytes(whole)
    write_images(source, {**IMAGES, "A": IMAGES["A"] + 1})
    with pytest.raises(TargetExistsError, match="another content"):
        convert_acquisition(request, SilentJournal())
    assert ["out_A"] == names_in(place)

    shutil.rmtree(place / "out_A")
    convert_acquisition(request, SilentJournal())
    assert ["out_B", "out_C"] == names_in(place)


def test_each_takes_the_place_of_its_own_older_one(source, place, interference):
    """With `replace` each dataset is exchanged with that of its name; a fourth one stays."""
    four = {**IMAGES, "D": IMAGES["B"]}
    first = Interference()
    convert_acquisition(request_of(write_images(source, four), place), first)
    older = tuple(
        EarlierDataset(fact.dataset_path, fact.run_id)
        for fact in first.facts
        if fact.stage == "published"
    )
    before = stored_files(place / "out_D")
    write_images(source, {name: image + 1 for name, image in IMAGES.items()})
    convert_acquisition(replace(request_of(source, place), earlier=older), interference)

    assert ["out_A", "out_B", "out_C", "out_D"] == names_in(place)
    for name, image_zyx in IMAGES.items():
        np.testing.assert_array_equal(image_zyx + 1, voxels_of(place / f"out_{name}"))
    assert before == stored_files(place / "out_D")


def test_the_digest_is_that_of_the_file(source, place):
    """A comparison of contents needs no conversion, however many images there are."""
    result = convert_acquisition(request_of(source, place), SilentJournal())
    request = replace(request_of(source, place), target=place / "out_B", staging_name="0-1")

    assert result.content_digest == digest_acquisition(request)


# ---------------------------------------------------------------- inspect


def test_inspect_lists_every_image(source):
    """Each with its layers and voxel size; what is above them is the first's."""
    options = ConvertFlags(voxel_size_nm=(None, 11, 25)).options()
    found = inspect_acquisition(source, options)
    scenes = found.record["scenes"]

    assert (None, ("A", "B", "C")) == (found.error, found.scenes)
    assert ["A", "B", "C"] == [scene["scene"] for scene in scenes]
    assert found.record["layers"] == scenes[0]["layers"]
    assert ["uint16", "uint8", "int16"] == [s["layers"][0]["voxel_type"] for s in scenes]
    assert [] == inspect_acquisition(source, replace_scene("B")).record["scenes"]


def replace_scene(name: str) -> Any:
    """Return the options that convert one image."""
    return ConvertFlags(voxel_size_nm=(None, 11, 25), scene=name).options()


def test_an_image_without_voxel_size_parks_all(source):
    """What one image lacks is not taken from another."""
    found = inspect_acquisition(source, ConvertFlags().options())

    assert isinstance(found.error, MissingMetadataError)
    assert "Image “A”" in found.record["message"]
