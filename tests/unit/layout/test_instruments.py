"""Folders of instruments: their metadata tells datasets, order, voxel size, and what is missing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stackwatch.errors import (
    AmbiguousLayoutError,
    IncompleteAcquisitionError,
    MissingSlicesError,
    MixedSlicesError,
    StackwatchError,
    StillArrivingError,
    UnknownLayoutError,
)
from stackwatch.layout.instruments import texts_that_count
from stackwatch.layout.micro_manager_text import parse_metadata
from stackwatch.layout.sbemimage import parse_image_list, parse_sessions, parse_settings
from stackwatch.layout.serialem_text import parse_autodoc
from stackwatch.model.geometry import PartialVoxelSize, VoxelSize
from stackwatch.model.options import ConvertOptions, LayoutOptions, VoxelSizeOptions
from stackwatch.model.plan import BLACK, DatasetPlan
from stackwatch.pipeline.opening import open_acquisition, plan_acquisition
from stackwatch.testing.instrument_folders import (
    SbemRun,
    write_autodoc,
    write_sbem,
    write_serialem_stack,
    write_xlef,
)
from stackwatch.testing.lif_files import LifPicture, write_lof
from stackwatch.testing.micro_manager import (
    MicroManagerRun,
    imagej_words,
    ome_pointer,
    write_image_files,
    write_mmstack,
)

RUN = MicroManagerRun(size_t=2)
NO_SIZE = VoxelSizeOptions()
ONLY_Z = VoxelSizeOptions(PartialVoxelSize(z=40.0))

Planned = Callable[..., tuple[list[DatasetPlan], list[np.ndarray]]]


@pytest.fixture
def planned(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """Return a function that plans real files, and reads every plane of what is planned.

    The voxels of each dataset come as one array, axes t, layer, z, y, x; black planes are zero.
    """

    def plan(
        source: Path, *, voxel_size: VoxelSizeOptions = NO_SIZE, **options: Any
    ) -> tuple[list[DatasetPlan], list[np.ndarray]]:
        whole = ConvertOptions(layout=LayoutOptions(**options), voxel_size=voxel_size)
        scratch = tmp_path_factory.mktemp("scratch")
        with open_acquisition(source, (), whole, scratch) as acquisition:
            plans = list(plan_acquisition(acquisition))
            return plans, [read_all(acquisition, plan) for plan in plans]

    def read_all(acquisition: Any, plan: DatasetPlan) -> np.ndarray:
        layers = []
        for stack in plan.stacks:
            size = stack.layers[0].size
            voxels = np.zeros((len(stack.planes_tz), size.z, size.y, size.x), np.int64)
            for t, row in enumerate(stack.planes_tz):
                for z, ref in enumerate(row):
                    if ref.file == BLACK:
                        continue
                    path = stack.files[ref.file]
                    with acquisition.files.open(path) as file:
                        reader = acquisition.opener(file, path, stack.scene)
                        voxels[t, z] = reader.read_plane(ref.t, ref.c, ref.z, (0, size.y))
                        reader.close()
            layers.append(voxels)
        return np.stack(layers, axis=1)

    return plan


def voxels_of(run: MicroManagerRun, position: int) -> np.ndarray:
    """Return a position of a run, axes t, c, z, y, x."""
    planes = [run.plane(place) for place in run.places() if place[0] == position]
    return np.stack(planes).reshape(run.size_t, len(run.channels), run.size_z, *run.shape_yx)


# ---------------------------------------------------------------- Micro-Manager, an image per file


@pytest.mark.parametrize("generation", ["1.4", "2.0"])
def test_micro_managers_images_come_to_their_places(
    generation: Any, tmp_path: Path, planned: Planned
):
    """Timepoints, channels with their names and colours, slices and voxel size, by metadata.txt."""
    run = replace(RUN, generation=generation, colors=(255, -1))
    write_image_files(tmp_path / "run", run)

    (plan,), (voxels,) = planned(tmp_path / "run")

    assert ("micro-manager", "") == (plan.layout, plan.scene_name)
    assert ["DAPI", "FITC"] == [layer.name for layer in plan.layers]
    assert [(0, 0, 255), None] == [layer.color_rgb for layer in plan.layers]
    assert VoxelSize(650, 650, 2000) == plan.voxel_size_nm
    assert ("Micro-Manager metadata",) * 3 == plan.voxel_size_source
    assert np.array_equal(voxels_of(run, 0), voxels)
    assert (plan.metadata or {})["micro_manager"]["Prefix"] == "run"


def test_each_position_of_micro_manager_is_a_dataset(tmp_path: Path, planned: Planned):
    """They are called by their folders; one alone can be asked for."""
    run = replace(RUN, positions=("well A", "well B"))
    write_image_files(tmp_path / "run", run)

    plans, voxels = planned(tmp_path / "run")
    (only,), _ = planned(tmp_path / "run", scenes="well B")

    assert ["well_A", "well_B"] == [plan.scene_name for plan in plans]
    assert all(np.array_equal(voxels_of(run, p), voxels[p]) for p in (0, 1))
    assert "well_B" == only.scene_name
    assert all(path.startswith("well B/") for path in only.stacks[0].files)


def test_one_channel_of_micro_manager_is_the_layer_color(tmp_path: Path, planned: Planned):
    """With one channel the layer is called as always."""
    write_image_files(tmp_path / "run", replace(RUN, channels=("DAPI",)))

    (plan,), _ = planned(tmp_path / "run")

    assert ["color"] == [layer.name for layer in plan.layers]


def test_an_open_metadata_file_says_that_micro_manager_still_acquires(
    tmp_path: Path, planned: Planned
):
    """Whatever the setting for missing slices: only the end of the acquisition helps."""
    write_image_files(tmp_path / "run", RUN, missing=[(0, 1, 1, 2)], is_closed=False)

    for policy in ("park", "black"):
        with pytest.raises(IncompleteAcquisitionError, match="11 of 12 images are there"):
            planned(tmp_path / "run", missing_slices=policy)


def test_a_whole_acquisition_needs_no_closing_brace(tmp_path: Path, planned: Planned):
    """After a crash at the very end everything that was announced is there; a warning says it."""
    write_image_files(tmp_path / "run", RUN, is_closed=False)

    (plan,), _ = planned(tmp_path / "run")

    assert any("is not closed" in warning for warning in plan.warnings)


def test_images_that_micro_manager_announced_are_missed(tmp_path: Path, planned: Planned):
    """An aborted acquisition waits; black slices take the place where that is wished."""
    write_image_files(tmp_path / "run", RUN, missing=[(0, 1, 1, 1), (0, 1, 1, 2)])

    with pytest.raises(IncompleteAcquisitionError, match="10 are there") as caught:
        planned(tmp_path / "run")
    (plan,), (voxels,) = planned(tmp_path / "run", missing_slices="black")

    assert (2, [1, 1, 1]) == (caught.value.values["missing_count"], caught.value.values["first"])
    expected = voxels_of(RUN, 0)
    expected[1, 1, 1:] = 0
    assert np.array_equal(expected, voxels)
    assert any("2 missing slices become black" in warning for warning in plan.warnings)


def test_a_file_that_the_metadata_names_and_is_gone_is_named(tmp_path: Path, planned: Planned):
    """A file that was not copied is told by its name."""
    paths = write_image_files(tmp_path / "run", RUN)
    paths[3].unlink()

    with pytest.raises(IncompleteAcquisitionError, match=paths[3].name):
        planned(tmp_path / "run")


def test_a_position_that_is_missing_is_missed(tmp_path: Path, planned: Planned):
    """The summary announces the number of positions."""
    run = replace(RUN, positions=("Pos0", "Pos1", "Pos2"))
    write_image_files(tmp_path / "run", run)
    (tmp_path / "run/Pos2/metadata.txt").unlink()
    with pytest.raises(IncompleteAcquisitionError, match="announces 3 positions"):
        planned(tmp_path / "run")
    for path in (tmp_path / "run/Pos2").iterdir():
        path.unlink()

    with pytest.raises(IncompleteAcquisitionError, match="metadata of 2 is there"):
        planned(tmp_path / "run")
    plans, _ = planned(tmp_path / "run", missing_slices="black")

    assert ["Pos0", "Pos1"] == [plan.scene_name for plan in plans]


def test_what_does_not_belong_to_micro_managers_images_parks(tmp_path: Path, planned: Planned):
    """Strange pictures, two runs, two files of one place, files of several planes."""
    write_image_files(tmp_path / "a", RUN)
    tifffile.imwrite(tmp_path / "a/Default/overview.tif", np.zeros((4, 5), "u1"))
    write_image_files(tmp_path / "b/run_1", RUN)
    write_image_files(tmp_path / "b/run_2", RUN)
    write_image_files(tmp_path / "c", RUN)
    text = tmp_path / "c/Default/metadata.txt"
    text.write_text(text.read_text().replace('"z": 1', '"z": 0'))
    first, *_ = write_image_files(tmp_path / "d", RUN)
    tifffile.imwrite(first, np.zeros((2, 12, 16), "u2"), photometric="minisblack", metadata=None)

    with pytest.raises(AmbiguousLayoutError, match=r"overview\.tif"):
        planned(tmp_path / "a")
    with pytest.raises(UnknownLayoutError, match="several Micro-Manager acquisitions"):
        planned(tmp_path / "b")
    with pytest.raises(AmbiguousLayoutError, match="have the same place"):
        planned(tmp_path / "c")
    with pytest.raises(MixedSlicesError, match="writes one plane"):
        planned(tmp_path / "d")


def test_an_image_on_its_way_is_waited_for(tmp_path: Path, planned: Planned):
    """A temporary name beside the images means the same as in any folder."""
    paths = write_image_files(tmp_path / "run", RUN)
    paths[0].rename(paths[0].with_name(f"{paths[0].name}.part"))

    with pytest.raises(StillArrivingError):
        planned(tmp_path / "run")


def test_another_metadata_file_changes_nothing(tmp_path: Path, planned: Planned):
    """`metadata.txt` is a name anybody may give: only Micro-Manager's own counts."""
    for z in range(3):
        tifffile.imwrite(tmp_path / f"z{z}.tif", np.full((4, 5), z, "u1"))
    (tmp_path / "metadata.txt").write_text('{"Summary": "three slices", "who": "me"}')

    (plan,), _ = planned(tmp_path, voxel_size=VoxelSizeOptions(PartialVoxelSize(1, 1, 1)))

    assert "sequence" == plan.layout


def test_the_setting_names_an_instrument_or_passes_it_over(tmp_path: Path, planned: Planned):
    """`layout` decides: for another layout the metadata does not count, nor for another maker."""
    write_image_files(tmp_path / "run", replace(RUN, size_t=1))
    size = VoxelSizeOptions(PartialVoxelSize(1, 1, 1))

    (plan,), _ = planned(tmp_path / "run", layout="named-axes", voxel_size=size)

    assert ("named-axes", ["color_c0", "color_c1"]) == (
        plan.layout,
        [layer.name for layer in plan.layers],
    )
    with pytest.raises(UnknownLayoutError, match='"sbemimage"` does not fit'):
        planned(tmp_path / "run", layout="sbemimage")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("notes", None),
        ("[1, 2]", None),
        ('{"Summary": {"Slices": 3}}', None),
        ('{"Summary": {"Slices": 3}, "FrameKey-0-0-2": {"SliceIndex": 2}}', None),
        ('{"Summary": {"MicroManagerVersion": "1.4"}', ({}, False)),
        ('{"Summary": {"MicroManagerVersion": "1.4"},', ({}, False)),
        ('{"Summary": {"MicroManagerVersion": "1.4"}, "Fra', ({}, False)),
        ('{"Summary": {"MicroManagerVersion": "1.4"}}', ({}, True)),
        (
            '{"Summary": {"MicroManagerVersion": "1.4"},\r\n"FrameKey-1-0-2": {"FileName": '
            '"img_1.tif", "Frame": 1, "SliceIndex": 2}\r\n}\r\n',
            ({"img_1.tif": (1, 0, 2)}, True),
        ),
        (
            '{"Summary": {"MicroManagerVersion": "2.0"}, '
            '"Coords-Pos0/img_channel001_position000_time000000004_z012.tif": {}}',
            ({"img_channel001_position000_time000000004_z012.tif": (4, 1, 12)}, True),
        ),
    ],
)
def test_metadata_is_read_as_far_as_it_is_written(text: str, expected: object):
    """Cut anywhere, it tells what it tells; what is not Micro-Manager's is none."""
    found = parse_metadata(text)

    assert expected == (None if found is None else (dict(found.places), found.is_closed))


def test_metadata_cut_anywhere_is_never_whole(tmp_path: Path):
    """A text that is written as the acquisition goes tells fewer images, never others."""
    write_image_files(tmp_path, replace(RUN, size_t=1))
    text = (tmp_path / "Default/metadata.txt").read_text().rstrip()
    whole = parse_metadata(text)
    assert whole is not None

    for end in range(0, len(text), 17):
        found = parse_metadata(text[:end])
        assert found is None or not found.is_closed
        assert found is None or found.places.items() <= whole.places.items()


def test_an_odd_word_for_a_place_gives_way_to_the_name():
    """Where the metadata keeps a number in another form, the file's name counts."""
    name = "img_channel001_position000_time000000002_z003.tif"
    text = {
        "Summary": {"MicroManagerVersion": "2.0"},
        f"Coords-Default/{name}": {"time": {"type": "INTEGER", "scalar": 9}, "z": None},
    }

    found = parse_metadata(json.dumps(text))

    assert {name: (2, 1, 3)} == (found and dict(found.places))


# ---------------------------------------------------------------- Micro-Manager, image stack files


def test_stack_files_are_joined_by_their_tables(tmp_path: Path, planned: Planned):
    """A file that goes on in another, positions side by side: each position is whole."""
    run = replace(RUN, positions=("1-Pos_000_000", "1-Pos_000_001"))
    texts = (ome_pointer("x.ome.tif", "1"), imagej_words(run))
    for p, name in enumerate(run.positions):
        places = [place for place in run.places("pzct") if place[0] == p]
        stem = tmp_path / f"run/a_MMStack_{name}"
        write_mmstack(stem.with_name(f"{stem.name}.ome.tif"), run, places[:7], descriptions=texts)
        write_mmstack(stem.with_name(f"{stem.name}_1.ome.tif"), run, places[7:])
        stem.with_name(f"{stem.name}_metadata.txt").write_text("{}")

    plans, voxels = planned(tmp_path / "run")

    assert ["1-Pos_000_000", "1-Pos_000_001"] == [plan.scene_name for plan in plans]
    assert all(np.array_equal(voxels_of(run, p), voxels[p]) for p in (0, 1))
    assert (2, VoxelSize(650, 650, 2000)) == (
        len(plans[0].stacks[0].files),
        plans[0].voxel_size_nm,
    )


def test_a_position_whose_file_is_missing_is_missed(tmp_path: Path, planned: Planned):
    """The text beside the files announces how many positions there are."""
    run = replace(RUN, positions=("Pos0", "Pos1", "Pos2"))
    for p, name in enumerate(run.positions[:2]):
        places = [place for place in run.places() if place[0] == p]
        write_mmstack(tmp_path / f"a_MMStack_{name}.ome.tif", run, places)
        text = {"Summary": run.summary()}
        (tmp_path / f"a_MMStack_{name}_metadata.txt").write_text(json.dumps(text))

    with pytest.raises(IncompleteAcquisitionError, match="announces 3 positions"):
        planned(tmp_path)
    plans, _ = planned(tmp_path, missing_slices="black")

    assert ["Pos0", "Pos1"] == [plan.scene_name for plan in plans]


def test_a_part_of_a_stack_that_is_missing_is_missed(tmp_path: Path, planned: Planned):
    """Alone or among others: planes that the summary announces and no table names."""
    for stem, places in (("Pos0", RUN.places()[:7]), ("Pos0_1", RUN.places()[7:10])):
        write_mmstack(tmp_path / f"two/a_MMStack_{stem}.ome.tif", RUN, places)
    write_mmstack(tmp_path / "one/a_MMStack_Pos0.ome.tif", RUN, RUN.places()[:7])

    with pytest.raises(IncompleteAcquisitionError, match="10 are there"):
        planned(tmp_path / "two")
    with pytest.raises(IncompleteAcquisitionError, match="not complete"):
        planned(tmp_path / "one")
    _, (voxels,) = planned(tmp_path / "two", missing_slices="black")

    assert not voxels[1, 1, 1:].any()
    assert np.array_equal(voxels_of(RUN, 0)[1, 1, 0], voxels[1, 1, 0])


def test_several_positions_in_each_of_several_files_are_parked(tmp_path: Path, planned: Planned):
    """Which go together is not said."""
    run = replace(RUN, positions=("Pos0", "Pos1"))
    write_mmstack(tmp_path / "a_MMStack.ome.tif", run, run.places()[:18])
    write_mmstack(tmp_path / "a_MMStack_1.ome.tif", run, run.places()[18:])

    with pytest.raises(AmbiguousLayoutError, match="holds several positions"):
        planned(tmp_path)


# ---------------------------------------------------------------- SBEMimage


def test_each_tile_of_sbemimage_is_a_dataset(tmp_path: Path, planned: Planned):
    """In the order of the slices, with the pixel of its grid and the thickness of the slices."""
    run = SbemRun({"0000": 2, "0001": 1}, slices=(3, 4, 5, 6))
    write_sbem(tmp_path / "run", run)

    plans, voxels = planned(tmp_path / "run")

    names = ["g0000_t0000", "g0000_t0001", "g0001_t0000"]
    assert names == [plan.scene_name for plan in plans]
    for plan, found, (grid, tile) in zip(
        plans, voxels, [("0000", 0), ("0000", 1), ("0001", 0)], strict=True
    ):
        expected = np.stack([run.picture(grid, tile, number) for number in run.slices])
        assert np.array_equal(expected, found[0, 0])
        assert VoxelSize(10, 10, 25) == plan.voxel_size_nm
        assert {"grid": grid, "tile": f"{tile:04d}", "first_slice": 3} == (plan.metadata or {})[
            "sbemimage"
        ]
    assert any("tiles are not stitched" in warning for warning in plans[0].warnings)
    assert any("4 images in “overviews”" in warning for warning in plans[0].warnings)


def test_a_grid_with_an_interval_has_thicker_slices(tmp_path: Path, planned: Planned):
    """Every third slice only: z is three times the thickness, by the listed depths."""
    write_sbem(tmp_path / "run", SbemRun({"0000": 1}, slices=(0, 3, 6), thickness_nm=33.3))

    (plan,), _ = planned(tmp_path / "run")

    assert pytest.approx((10, 10, 99.9)) == tuple(plan.voxel_size_nm)
    assert 3 == plan.layers[0].size.z


def test_a_stack_waits_for_the_word_that_it_is_complete(tmp_path: Path, planned: Planned):
    """Pauses last for days; a stack that was stopped by hand is taken by its layout's name."""
    write_sbem(tmp_path / "run", SbemRun({"0000": 1}, is_completed=False))
    write_sbem(tmp_path / "no_log", SbemRun({"0000": 1}, is_completed=None))

    with pytest.raises(IncompleteAcquisitionError, match="Stack completed"):
        planned(tmp_path / "run")
    (taken,), _ = planned(tmp_path / "run", layout="sbemimage")
    (unknown,), _ = planned(tmp_path / "no_log")

    assert any("does not say that the stack was completed" in one for one in taken.warnings)
    assert any("no log of SBEMimage" in one for one in unknown.warnings)


@pytest.mark.parametrize("number", [1, 3])
def test_a_tile_that_lacks_a_slice_of_its_grid_is_parked(
    number: int, tmp_path: Path, planned: Planned
):
    """In the middle or at the end: the other tiles tell; black takes its place if wished."""
    run = SbemRun({"0000": 2})
    write_sbem(tmp_path / "run", run, missing=[("0000", 1, number)])

    with pytest.raises(MissingSlicesError, match=rf"t0001”: grid 0000.* lacks slices {number}:"):
        planned(tmp_path / "run")
    (whole,), _ = planned(tmp_path / "run", scenes="g0000_t0000")
    _, (_, voxels) = planned(tmp_path / "run", missing_slices="black")

    assert "g0000_t0000" == whole.scene_name
    assert not voxels[0, 0, number].any()
    assert np.array_equal(run.picture("0000", 1, 2), voxels[0, 0, 2])


def test_a_listed_tile_that_is_gone_is_named(tmp_path: Path, planned: Planned):
    """The list of images is the count of what has to be there."""
    paths = write_sbem(tmp_path / "run", SbemRun({"0000": 1}))
    paths["0000/0/3"].unlink()

    with pytest.raises(IncompleteAcquisitionError, match=r"lists 4 tiles.*1 of them"):
        planned(tmp_path / "run")


def test_images_that_sbemimage_does_not_list_are_parked(tmp_path: Path, planned: Planned):
    """A tile that was never registered, and a picture of somebody else."""
    paths = write_sbem(tmp_path / "a", SbemRun({"0000": 1}))
    tile = paths["0000/0/3"]
    tile.with_name(tile.name.replace("s00003", "s00004")).write_bytes(tile.read_bytes())
    write_sbem(tmp_path / "b", SbemRun({"0000": 1}))
    (tmp_path / "b/figure.png").write_bytes(b"\x89PNG")

    for name in ("a", "b"):
        with pytest.raises(AmbiguousLayoutError, match="its metadata says nothing"):
            planned(tmp_path / name)


def test_depths_that_are_not_even_leave_z_open(tmp_path: Path, planned: Planned):
    """Where the thickness was changed, no single z is right: it has to be given."""
    write_sbem(tmp_path / "run", SbemRun({"0000": 1}, slices=tuple(range(8))))
    (text,) = (tmp_path / "run/meta/logs").glob("imagelist_*")
    text.write_text(text.read_text().replace(";175;7", ";220;7"))

    with pytest.raises(StackwatchError, match="No voxel size along z"):
        planned(tmp_path / "run")
    (plan,), _ = planned(tmp_path / "run", voxel_size=ONLY_Z)

    assert ("settings", True) == (
        plan.voxel_size_source[2],
        any("not evenly spaced" in warning for warning in plan.warnings),
    )


def test_another_interval_in_between_is_parked(tmp_path: Path, planned: Planned):
    """Slices that do not count with one stride are two stacks."""
    write_sbem(tmp_path / "run", SbemRun({"0000": 1}, slices=(0, 2, 4, 6, 7, 9)))

    with pytest.raises(UnknownLayoutError, match="6 is followed by 7"):
        planned(tmp_path / "run")


def test_logs_are_read_whatever_is_in_them():
    """Sessions, settings and lists with damage tell what they tell."""
    assert {} == parse_image_list("a;b;c\n;;;;\ntiles/x.tif;1;2;deep;4\n")
    assert [] == parse_sessions("SESSION: {'grids': ['0000'\nSESSION: 5\nTILE: {}\nSESSION: {}")
    assert [("0000", 0.0, 30.0)] == parse_sessions(
        "SESSION: {'grids': ['0000'], 'pixel_sizes': [], 'slice_thickness': 30}"
    )
    settings = "[acq]\nslice_thickness = 25\n[grids]\npixel_size = [10.0, 8.0]\n"
    assert [("0000", 10.0, 25.0), ("0001", 8.0, 25.0)] == parse_settings(settings)
    assert [] == parse_settings("pixel_size = 4") == parse_settings("[grids]\npixel_size = {")


# ---------------------------------------------------------------- SerialEM


def series(folder: Path, count: int = 4) -> list[str]:
    """Write pictures whose names say nothing of their order; return their names in that order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{'dbca'[z % 4]}{z % 4}_map{z}.tif" for z in range(count)]
    for z, name in enumerate(names):
        tifffile.imwrite(folder / name, np.full((12, 16), z + 1, np.uint8), metadata=None)
    return names


def test_a_series_of_serialem_has_the_order_of_its_text(tmp_path: Path, planned: Planned):
    """`.idoc` names the files, and the pixel in ångström; z has to be given."""
    names = series(tmp_path)
    write_autodoc(tmp_path / "map.idoc", [(name, {}) for name in names], PixelSpacing=50)

    (plan,), (voxels,) = planned(tmp_path, voxel_size=ONLY_Z)

    assert ("serialem", VoxelSize(5, 5, 40)) == (plan.layout, plan.voxel_size_nm)
    assert [1, 2, 3, 4] == [int(value) for value in voxels[0, 0, :, 0, 0]]


def test_a_series_of_serialem_has_to_be_whole(tmp_path: Path, planned: Planned):
    """Missing images wait or are black; others beside them, and two texts, are parked."""
    names = series(tmp_path)
    images: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in names]
    write_autodoc(tmp_path / "map.idoc", images, PixelSpacing=50)
    (tmp_path / names[2]).unlink()

    with pytest.raises(IncompleteAcquisitionError, match="3 are there"):
        planned(tmp_path)
    _, (voxels,) = planned(tmp_path, voxel_size=ONLY_Z, missing_slices="black")
    assert [1, 2, 0, 4] == [int(value) for value in voxels[0, 0, :, 0, 0]]
    write_autodoc(tmp_path / "other.idoc", images)
    with pytest.raises(UnknownLayoutError, match=r"2 `\.idoc` files"):
        planned(tmp_path)
    (tmp_path / "other.idoc").unlink()
    tifffile.imwrite(tmp_path / "extra.tif", np.zeros((4, 5), "u1"))
    with pytest.raises(AmbiguousLayoutError, match=r"extra\.tif"):
        planned(tmp_path)


def test_pieces_of_a_montage_are_never_slices(tmp_path: Path, planned: Planned):
    """In a series and in a stack: several pieces of one section are parked."""
    names = series(tmp_path / "series")
    pieces = [(name, {"PieceCoordinates": f"{100 * i} 0 0"}) for i, name in enumerate(names)]
    write_autodoc(tmp_path / "series/map.idoc", pieces, PixelSpacing=50)
    path = write_serialem_stack(tmp_path / "stack/a.mrc", np.zeros((4, 6, 8), np.int16))
    sections = [(str(z), {"PieceCoordinates": f"{8 * (z % 2)} 0 {z // 2}"}) for z in range(4)]
    write_autodoc(path.with_name("a.mrc.mdoc"), sections, ImageSize="8 6")

    for name, count in (("series", 4), ("stack", 2)):
        with pytest.raises(UnknownLayoutError, match=f"up to {count} of one section"):
            planned(tmp_path / name, voxel_size=ONLY_Z)


def test_the_text_beside_a_stack_gives_the_pixel(tmp_path: Path, planned: Planned):
    """SerialEM's `.mdoc` states ångström; a montage of one piece is none; tilts are told."""
    stack = np.arange(3 * 6 * 8, dtype=np.int16).reshape(3, 6, 8)
    path = write_serialem_stack(tmp_path / "a.st", stack, PixelSpacing=11.2)
    sections = [
        (str(z), {"TiltAngle": -60 + 60 * z, "PieceCoordinates": f"0 0 {z}"}) for z in range(3)
    ]
    write_autodoc(path.with_name("a.st.mdoc"), sections, ImageSize="8 6", PixelSpacing=11.2)

    (plan,), (voxels,) = planned(tmp_path, voxel_size=ONLY_Z)

    assert pytest.approx((1.12, 1.12, 40)) == tuple(plan.voxel_size_nm)
    assert ("single-file", "SerialEM PixelSpacing") == (plan.layout, plan.voxel_size_source[0])
    assert any("tilt series from -60° to 60°" in warning for warning in plan.warnings)
    assert np.array_equal(stack, voxels[0, 0])


@pytest.mark.parametrize("sections", [2, 4])
def test_a_stack_and_its_text_agree_on_the_sections(
    sections: int, tmp_path: Path, planned: Planned
):
    """Fewer or more sections than the text tells of: one of the two is not written completely."""
    path = write_serialem_stack(tmp_path / "a.mrc", np.zeros((3, 6, 8), np.int16))
    told = [(str(z), {"TiltAngle": 0}) for z in range(sections)]
    write_autodoc(path.with_name("a.mrc.mdoc"), told, ImageSize="8 6", PixelSpacing=10)

    with pytest.raises(IncompleteAcquisitionError, match=f"tells of {sections} sections"):
        planned(tmp_path, voxel_size=ONLY_Z)


def test_a_text_of_another_size_is_not_used(tmp_path: Path, planned: Planned):
    """A binned copy of a stack has other pixels than its text tells."""
    path = write_serialem_stack(tmp_path / "a.mrc", np.zeros((3, 6, 8), np.int16))
    told: list[tuple[str, dict[str, Any]]] = [(str(z), {}) for z in range(3)]
    write_autodoc(path.with_name("a.mrc.mdoc"), told, ImageSize="16 12", PixelSpacing=10)

    with pytest.raises(StackwatchError, match="No voxel size in"):
        planned(tmp_path)


def test_autodocs_are_read_line_by_line():
    """Titles, unknown sections and noise are passed over; the first word for a key counts."""
    doc = parse_autodoc("x\n[T = a = b]\nPixelSpacing = 4\nPixelSpacing = 5\n[ZValue = 0]\n"
                        "Note = a = b\n[MontSection = 0]\nNote = c\n")  # fmt: skip

    assert ({"PixelSpacing": "4"}, (("0", {"Note": "a = b"}),)) == (doc.told, doc.images)
    assert ((4.0,), None, 1, ()) == (doc.spacings_angstrom, doc.size_xy, doc.most_pieces, doc.tilts)


# ---------------------------------------------------------------- Leica


def test_each_file_of_a_leica_project_is_a_dataset(tmp_path: Path, planned: Planned):
    """An XLEF is an index: the LOF files beside it hold the images, each under its name."""
    pytest.importorskip("liffile", reason="liffile is not installed: no LOF")
    steps = {"x": 1e-7, "y": 1e-7, "z": 3e-7}
    (tmp_path / "run").mkdir()
    for name, depth in (("cell 1", 2), ("cell 2", 3)):
        values = np.arange(depth * 4 * 5, dtype=np.uint8).reshape(depth, 4, 5)
        write_lof(tmp_path / f"run/{name}.lof", LifPicture(name, values, "zyx", steps))
    write_xlef(tmp_path / "run", "project", ["cell 1", "cell 2"])

    plans, voxels = planned(tmp_path / "run")

    assert [("leica-xlef", "cell_1"), ("leica-xlef", "cell_2")] == [
        (plan.layout, plan.scene_name) for plan in plans
    ]
    assert [2, 3] == [found.shape[2] for found in voxels]
    assert [100, 100, 300] == pytest.approx(list(plans[0].voxel_size_nm))
    (tmp_path / "run/cell 2.lof").unlink()
    with pytest.raises(IncompleteAcquisitionError, match=r"cell 2\.lof"):
        planned(tmp_path / "run")


# ---------------------------------------------------------------- texts are content


def test_a_text_that_counts_is_part_of_the_content(tmp_path: Path):
    """Another word in the metadata is another content; a log's line is not."""
    write_sbem(tmp_path / "run", SbemRun({"0000": 1}))
    digests = []
    for name, old, new in (
        ("", "", ""),
        ("log_", "Started", "Begun"),
        ("imagelist_", ";0;0", ";0;0 "),
    ):
        for text in (tmp_path / "run/meta/logs").glob(f"{name}*") if name else ():
            text.write_text(text.read_text().replace(old, new))
        with open_acquisition(tmp_path / "run", (), ConvertOptions(), tmp_path) as acquisition:
            plan_acquisition(acquisition)
            digests.append(acquisition.meaning_digest)

    assert digests[0] == digests[1] != digests[2]


def test_the_names_of_texts_that_count():
    """Where a change while reading means that the dataset would be another."""
    paths = [
        "Pos0/metadata.txt", "meta/logs/imagelist_2026.txt", "meta/logs/log_2026.txt", "a.mrc",
        "a.mrc.mdoc", "b.mdoc", "s.idoc", "v.h5", "v.xml", "w.xml", "p.tif", "p.txt", "readme.txt",
    ]  # fmt: skip

    assert {
        "Pos0/metadata.txt", "meta/logs/imagelist_2026.txt", "a.mrc.mdoc", "s.idoc", "v.xml",
        "p.txt",
    } == texts_that_count(paths)  # fmt: skip


def test_the_summary_is_json_that_anybody_can_read(tmp_path: Path):
    """What the tests write is closed JSON, as Micro-Manager's is."""
    write_image_files(tmp_path, RUN)

    told = json.loads((tmp_path / "Default/metadata.txt").read_text())

    assert 12 == sum(key.startswith("Coords-") for key in told)
