"""What a sidecar changes about a conversion, and who wins."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stackwatch import convert, inspect
from stackwatch.errors import MissingMetadataError, SidecarError, StackwatchError
from stackwatch.layout.sidecar import Sidecar
from stackwatch.layout.sidecar_keys import LayerValues
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.options import (
    ConvertOptions,
    LayerRule,
    LayoutOptions,
    VoxelSizeOptions,
)
from stackwatch.model.voxels import Category
from stackwatch.pipeline.compare import digest_acquisition
from stackwatch.pipeline.request import ConvertRequest, EarlierDataset
from stackwatch.pipeline.sidecars import apply_sidecar, digest_meaning

STACK_ZYX = np.arange(5 * 9 * 7, dtype=np.uint8).reshape(5, 9, 7)
SAID = """\
name = "Cortex 7"
voxel_size_nm = [4, 4, 25]
category = "segmentation"
layer_name = "cells"
[metadata]
operator = "A. Meier"
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a folder with five slices."""
    (tmp_path / "run").mkdir()
    for z, slice_yx in enumerate(STACK_ZYX):
        tifffile.imwrite(tmp_path / "run" / f"slice_{z}.tif", slice_yx)
    return tmp_path / "run"


def made_of(source: Path, **flags: Any) -> dict[str, Any]:
    """Convert, and return what is worth comparing."""
    target = source.parent / "made"
    result = convert(source, target, **flags)
    document = json.loads((target / "datasource-properties.json").read_text())
    (layer,) = document["dataLayers"]
    manifest = json.loads((target / "stackwatch.json").read_text())
    return {
        "name": document["id"]["name"],
        "layer": (layer["name"], layer["category"]),
        "voxel_size": (document["scale"]["factor"], manifest["voxel_size_source"]),
        "metadata": manifest["metadata"],
        "warnings": list(result.warnings),
        "sidecar": manifest["sidecar"],
    }


def test_convert_does_what_the_sidecar_says(run: Path) -> None:
    """Name, voxel size, category, layer and metadata, without a flag."""
    (run / "stackwatch.toml").write_text(SAID)

    assert {
        "name": "Cortex_7",
        "layer": ("cells", "segmentation"),
        "voxel_size": ([4.0, 4.0, 25.0], ["stackwatch.toml"] * 3),
        "metadata": {"sidecar": {"operator": "A. Meier"}},
        "warnings": [],
        "sidecar": "stackwatch.toml",
    } == made_of(run)


def test_flags_win_over_the_sidecar(run: Path) -> None:
    """Axis by axis, and whatever else was given."""
    (run / "stackwatch.toml").write_text(SAID)

    made = made_of(
        run, name="mine", layer_name="em", category="color", voxel_size_nm=(None, None, 30)
    )

    assert ("mine", ("em", "color")) == (made["name"], made["layer"])
    assert (
        [4.0, 4.0, 30.0],
        ["stackwatch.toml", "stackwatch.toml", "command line"],
    ) == made["voxel_size"]


def test_what_only_the_service_obeys_is_a_warning(run: Path) -> None:
    """Who converts by hand wants it, but should know."""
    (run / "stackwatch.toml").write_text("skip = true\nexpected_files = 1200")
    made = made_of(run, voxel_size_nm=(1, 1, 1))

    assert "skip = true" in made["warnings"][0]
    assert "1,200 files, there are 5" in made["warnings"][1]
    assert 2 == len(made["warnings"])


def test_inspect_says_where_it_comes_from(run: Path) -> None:
    """The evidence names the sidecar and what it said."""
    (run / "stackwatch.toml").write_text(SAID)
    record = inspect(run).record

    assert ["stackwatch.toml"] * 3 == record["voxel_size_source"]
    assert "“stackwatch.toml” says name, voxel_size_nm, category, layer_name" in record["evidence"]
    assert not [line for line in record["evidence"] if "no image" in line]


def test_inspect_names_the_mistake(run: Path) -> None:
    """What a conversion would park is told beforehand."""
    (run / "stackwatch.toml").write_text('skip = "yes"')
    found = inspect(run)

    assert isinstance(found.error, SidecarError)
    assert ("parked", "sidecar") == (found.record["status"], found.record["error_code"])
    assert "line 1" in found.record["message"]


@pytest.mark.parametrize("name", ["stack.tif.stackwatch.toml", "stack.stackwatch.toml"])
def test_a_single_file_has_its_sidecar_beside_it(tmp_path: Path, name: str) -> None:
    """By its whole name, or by its stem."""
    tifffile.imwrite(tmp_path / "stack.tif", STACK_ZYX, photometric="minisblack")
    (tmp_path / name).write_text("voxel_size_nm = [1, 2, 3]")

    assert ([1.0, 2.0, 3.0], [name] * 3) == made_of(tmp_path / "stack.tif")["voxel_size"]


@pytest.mark.parametrize("place", ["beside", "inside", "in its only folder"])
def test_an_archive_has_one_beside_or_inside(run: Path, place: str) -> None:
    """At its top, or at the top of the one folder that holds everything."""
    (run / "stackwatch.toml").write_text("voxel_size_nm = [1, 2, 3]")
    archive = run.parent / "run.zip"
    prefix = "run/" if place == "in its only folder" else ""
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(run.iterdir()):
            if place != "beside" or path.suffix == ".tif":
                packed.write(path, prefix + path.name)
    if place == "beside":
        (run / "stackwatch.toml").rename(run.parent / "run.zip.stackwatch.toml")

    assert [1.0, 2.0, 3.0] == made_of(archive)["voxel_size"][0]


def test_an_archive_cannot_say_what_is_asked_for_before_it_is_opened(run: Path) -> None:
    """`skip` inside an archive would never be heard."""
    archive = run.parent / "run.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("stackwatch.toml", "skip = true")
        packed.write(run / "slice_0.tif", "slice_0.tif")

    with pytest.raises(SidecarError, match="beside the archive"):
        convert(archive, run.parent / "made", voxel_size_nm=(1, 1, 1))


def write_two(run: Path) -> None:
    """Put two sidecars into a folder."""
    (run / "stackwatch.toml").write_text("")
    (run / "run.stackwatch.toml").write_text("")


def write_link(run: Path) -> None:
    """Link to a sidecar elsewhere."""
    (run.parent / "real.toml").write_text("")
    (run / "stackwatch.toml").symlink_to(run.parent / "real.toml")


def write_large(run: Path) -> None:
    """Write more than anybody says by hand."""
    (run / "stackwatch.toml").write_bytes(b"#" * (2**20 + 1))


@pytest.mark.parametrize(
    ("write", "expected"),
    [(write_two, "two sidecars"), (write_link, "regular file"), (write_large, "1 MiB")],
)
def test_what_is_no_proper_sidecar_is_refused(run: Path, write: Any, expected: str) -> None:
    """L23, L24: it is never passed over: a person wanted something by it."""
    write(run)
    with pytest.raises(SidecarError, match=expected):
        convert(run, run.parent / "made", voxel_size_nm=(1, 1, 1))

    assert not (run.parent / "made").exists()


def test_a_sidecar_further_below_says_nothing(run: Path) -> None:
    """Only the top of the folder speaks for all of it."""
    (run / "notes").mkdir()
    (run / "notes" / "stackwatch.toml").write_text("voxel_size_nm = [1, 2, 3]")
    with pytest.raises(MissingMetadataError) as caught:
        convert(run, run.parent / "made")

    assert "stackwatch.toml" in caught.value.hint


# ---------------------------------------------------------------- who wins

SETTINGS = ConvertOptions(
    layout=LayoutOptions(
        layer_name="folder's",
        category=Category.COLOR,
        layer_rules=(LayerRule("mem*", "membranes", Category.COLOR),),
    ),
    voxel_size=VoxelSizeOptions(PartialVoxelSize(1, 1, 1)),
)


def test_the_sidecar_wins_over_the_folder() -> None:
    """Its word for all layers counts more than a rule of the folder for one."""
    said = Sidecar(category="segmentation", layers=(LayerValues("raw", "em"),))
    layout = apply_sidecar(SETTINGS, said).layout

    assert Category.SEGMENTATION is layout.category
    assert "folder's" == layout.layer_name
    assert (LayerRule("raw", "em"), LayerRule("mem*", "membranes", None)) == layout.layer_rules


def test_flags_keep_what_they_say() -> None:
    """A rule of the sidecar does not win over a flag for all layers."""
    flags = ConvertOptions(layout=LayoutOptions(category=Category.COLOR), are_flags=True)
    said = Sidecar(layer_name="em", layers=(LayerValues("mem*", "membranes", "segmentation"),))
    layout = apply_sidecar(flags, said).layout

    assert (Category.COLOR, "em") == (layout.category, layout.layer_name)
    assert (LayerRule("mem*", "membranes", None),) == layout.layer_rules


def test_a_job_keeps_the_name_it_was_given() -> None:
    """The daemon has named the dataset already, with its version."""
    named = ConvertOptions(dataset_name="cortex-r2")

    assert "cortex-r2" == apply_sidecar(named, Sidecar(name="cortex")).dataset_name
    assert "_cortex_7" == apply_sidecar(ConvertOptions(), Sidecar(name=".cortex 7")).dataset_name


# ---------------------------------------------------------------- contents


def request_for(run: Path, earlier: tuple[EarlierDataset, ...] = ()) -> ConvertRequest:
    """Return the question whether the content is that of a dataset."""
    return ConvertRequest(
        run, run.parent / "made", staging_name="0-1", earlier=earlier,
        options=ConvertOptions(voxel_size=VoxelSizeOptions(PartialVoxelSize(1, 1, 1))),
    )  # fmt: skip


def test_the_meaning_of_a_sidecar_is_part_of_the_content(run: Path) -> None:
    """D6: another comment or priority is the same content, another voxel size is not."""
    bare = digest_acquisition(request_for(run))
    texts = ["priority = 3", "voxel_size_nm = [1, 1, 2]", "voxel_size_nm = [1, 1, 2.0] # checked"]
    digests = []
    for text in texts:
        (run / "stackwatch.toml").write_text(text)
        digests.append(digest_acquisition(request_for(run)))

    assert bare == digests[0] != digests[1] == digests[2]
    assert "" == digest_meaning(None) == digest_meaning(Sidecar(name=""))


def test_a_dataset_counts_as_published_only_while_it_is_whole(run: Path) -> None:
    """D3: a content that is back needs its dataset with every shard, of that very run."""
    result = convert(run, run.parent / "made", voxel_size_nm=(1, 1, 1))
    run_id = json.loads((run.parent / "made" / "stackwatch.json").read_text())["run_id"]
    whole = request_for(run, (EarlierDataset(run.parent / "made", run_id),))
    other = request_for(run, (EarlierDataset(run.parent / "made", "another run"),))

    assert result.content_digest == digest_acquisition(whole)
    assert "" == digest_acquisition(other)
    next(path for path in (run.parent / "made").rglob("c/**/*") if path.is_file()).unlink()
    assert "" == digest_acquisition(whole)


def test_errors_of_a_sidecar_are_ours(run: Path) -> None:
    """Whatever bytes it holds."""
    for data in (b"\xff\xfe", b"[[", b"a" * 100, b"a." * 50):
        (run / "stackwatch.toml").write_bytes(data)
        with pytest.raises(StackwatchError):
            convert(run, run.parent / "made", voxel_size_nm=(1, 1, 1))
