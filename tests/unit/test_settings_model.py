"""What the records of the settings accept, and what they hand down."""

from typing import Any

import pytest
from pydantic import ValidationError

from stackwatch.engine.machine import default_memory_gib, usable_cpus
from stackwatch.model.geometry import PartialVoxelSize, Vec3
from stackwatch.model.options import ConvertOptions, LayerRule, ResourceOptions
from stackwatch.model.voxels import Category
from stackwatch.settings import DaemonSettings, FolderSettings, Settings


def folder(**values: Any) -> FolderSettings:
    """Return a folder that has what is required, and `values`."""
    return FolderSettings.model_validate(
        {"name": "em1", "path": "/drop/em1", "target": "/data/em1", **values}
    )


def test_defaults_become_default_options():
    """A folder without further settings converts exactly as the pipeline does by default."""
    assert ConvertOptions() == folder().convert_options()


def test_every_conversion_setting_reaches_the_options():
    """Each setting of a folder arrives at its own place in the options."""
    options = folder(
        voxel_size_nm=[11, 12, 25], voxel_size_from="settings", layout="sequence", alpha="drop",
        missing_slices="black", layer_name="em", category="segmentation", cast="float32",
        scenes="2",
        ignore=["previews/*"], layer=[{"match": "m*", "name": "cells", "category": "color"}],
        zip_max_ratio=3, zip_max_gib=4, max_gib=5, chunk_vx=64, shard_vx=[128, 256, 64],
        codec="gzip", interpolation="mean", max_mag=8, downsample=False, verify="full",
    ).convert_options(ResourceOptions(3, 1.5))  # fmt: skip

    assert PartialVoxelSize(11, 12, 25) == options.voxel_size.voxel_size_nm
    assert options.voxel_size.prefer == "settings"
    assert not options.voxel_size.is_flag
    layout = options.layout
    assert ("sequence", "2", "black", "em", "drop", "float32", ("previews/*",), 3, 4, 5) == (
        layout.layout, layout.scenes, layout.missing_slices, layout.layer_name, layout.alpha,
        layout.cast, layout.ignore, layout.zip_max_ratio, layout.zip_max_gib, layout.max_gib,
    )  # fmt: skip
    assert layout.category is Category.SEGMENTATION
    assert (LayerRule("m*", "cells", Category.COLOR),) == layout.layer_rules
    store = options.store
    assert (64, Vec3(128, 256, 64), "gzip") == (store.chunk_vx, store.shard_vx, store.codec)
    mags = options.mags
    assert ("mean", 8, False) == (mags.interpolation, mags.max_mag, mags.downsample)
    assert options.verify == "full"
    assert ResourceOptions(3, 1.5) == options.resources


def test_voxel_size_may_be_partial():
    """A table names only the axes that the files do not state."""
    size = folder(voxel_size_nm={"z": 25}).convert_options().voxel_size.voxel_size_nm

    assert PartialVoxelSize(None, None, 25.0) == size


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "a__b"), ("name", "-a"), ("name", "a b"), ("path", "drop"), ("target", "../x"),
        ("dataset_name", "fixed"), ("dataset_name", "{acquisition}_{nope}"),
        ("dataset_name", "{acquisition}{"), ("voxel_size_nm", [1, 2]), ("voxel_size_nm", [0, 1, 1]),
        ("voxel_size_nm", [1, 1, float("nan")]), ("voxel_size_nm", {"w": 1}), ("quiet_gap_s", 0),
        ("quiet_gap_s", True), ("scan_interval_s", float("inf")), ("watch", "inotify"),
        ("acquisition_depth", 0), ("loose", "all"), ("ignore", [""]), ("chunk_vx", 48),
        ("chunk_vx", 4), ("chunk_vx", 1024), ("shard_vx", [64, 64]), ("shard_vx", [64, 64, 48]),
        ("shard_vx", [64, 64, 16]), ("max_mag", 3), ("max_mag", 0), ("cast", "float16"),
        ("format", "zarr2"), ("codec", "lz4"), ("on_change", "overwrite"), ("zip_max_ratio", 0.5),
        ("category", "colour"), ("layout", "sequenze"), ("layer", [{"name": "x"}]),
        ("incomplete_after_h", -1),
    ],
)  # fmt: skip
def test_nonsense_is_refused(name: str, value: object):
    """A value that cannot be meant is refused at the door."""
    with pytest.raises(ValidationError):
        folder(**{name: value})


@pytest.mark.parametrize(
    ("acquisition", "expected"),
    [
        ("run_041", "run_041"),
        ("day 1/run#2", "day_1_run_2"),
        (".hidden", "_hidden"),
        ("ab", "ab_"),
        ("Präparat", "Pr_parat"),
        ("bad\udcff", "bad_"),
    ],
)
def test_dataset_names_are_fit_for_webknossos(acquisition: str, expected: str):
    """Every acquisition gets a name of allowed characters, at least three, no leading dot."""
    assert expected == folder().dataset_name_for(acquisition)


def test_dataset_name_fills_in_the_folder():
    """The template may hold the folder's name; braces in an acquisition's name mean nothing."""
    named = folder(dataset_name="{folder}-{acquisition}").dataset_name_for("{folder}")

    assert named == "em1-_folder_"


def test_resources_are_divided_by_the_workers():
    """Totals of the service are shared out evenly; a job has at least one thread."""
    assert (
        ResourceOptions(4, 2.0)
        == DaemonSettings(workers=2, threads=8, memory_gib=4).job_resources()
    )
    assert DaemonSettings(workers=3, threads=2, memory_gib=3).job_resources().threads == 1


def test_resources_default_to_the_machine():
    """Without settings a job takes the processors and the share of memory the machine offers."""
    assert ResourceOptions(usable_cpus(), default_memory_gib()) == DaemonSettings().job_resources()
    assert 0.25 <= default_memory_gib() <= 4


def test_folders_are_found_by_name():
    """A folder is found by its name, and nothing by another."""
    settings = Settings(folder=(folder(), folder(name="em2")))

    assert settings.folder_named("em2") is settings.folder[1]
    assert settings.folder_named("em3") is None
