"""What people may write behind an option, and what the flags make of it."""

import inspect
import typing
from pathlib import Path
from typing import Any

import pytest

from stackwatch.cli import convert as convert_command
from stackwatch.cli.options import parse_shard, parse_voxel_size
from stackwatch.errors import UsageError
from stackwatch.model.flags import ConvertFlags, FlagKeywords, place_request
from stackwatch.model.geometry import PartialVoxelSize, Vec3
from stackwatch.model.options import ConvertOptions
from stackwatch.model.voxels import Category


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("11,11,25", (11.0, 11.0, 25.0)),
        (" 11.5 , 1e1 ,25", (11.5, 10.0, 25.0)),
        (",,25", (None, None, 25.0)),
    ],
)
def test_voxel_sizes_are_three_numbers(text: str | None, expected: object):
    """Three numbers, or nothing for an axis that the files state."""
    assert expected == parse_voxel_size(text)


@pytest.mark.parametrize("text", ["", "11", "11,11", "1,2,3,4", "a,b,c", "11;11;25"])
def test_other_voxel_sizes_are_told(text: str):
    """Anything else is a usage error that shows how it is written."""
    with pytest.raises(UsageError, match="11,11,25"):
        parse_voxel_size(text)


@pytest.mark.parametrize(
    ("text", "expected"), [(None, None), ("1024", 1024), ("1024,512,32", (1024, 512, 32))]
)
def test_shards_are_one_number_or_three(text: str | None, expected: object):
    """One number stands for x and y."""
    assert expected == parse_shard(text)


@pytest.mark.parametrize("text", ["", "1,2", "1.5", "x"])
def test_other_shards_are_told(text: str):
    """Anything else is a usage error that shows how it is written."""
    with pytest.raises(UsageError, match="1024,1024,32"):
        parse_shard(text)


def test_no_flags_are_default_options():
    """Without flags a conversion does what it does by default."""
    assert ConvertOptions(are_flags=True) == ConvertFlags().options()


def test_every_flag_reaches_the_options():
    """Each flag arrives at its own place; a flag's voxel size wins over the files."""
    options = ConvertFlags(
        voxel_size_nm=(11, None, 25), name="n", layer_name="l", category="segmentation",
        interpolation="mode", max_mag=8, codec="gzip", chunk=64, shard=(64, 128, 256), threads=3,
        memory_gib=1.5, verify="off", layout="single", missing_slices="black", alpha="drop",
        cast="uint8", ignore=["a"], scene="B",
    ).options()  # fmt: skip

    assert PartialVoxelSize(11, None, 25) == options.voxel_size.voxel_size_nm
    assert options.voxel_size.is_flag
    assert options.dataset_name == "n"
    layout = options.layout
    assert ("l", Category.SEGMENTATION, "single", "black", "drop", "uint8", ("a",), "B") == (
        layout.layer_name, layout.category, layout.layout, layout.missing_slices, layout.alpha,
        layout.cast, layout.ignore, layout.scenes,
    )  # fmt: skip
    assert ("mode", 8, True) == (
        options.mags.interpolation,
        options.mags.max_mag,
        options.mags.downsample,
    )
    store = options.store
    assert (64, Vec3(64, 128, 256), "gzip") == (store.chunk_vx, store.shard_vx, store.codec)
    assert (3, 1.5) == (options.resources.threads, options.resources.memory_gib)
    assert options.verify == "off"


def test_one_number_is_a_flat_shard():
    """A single shard number stands for x and y; along z a shard is one chunk."""
    assert Vec3(1024, 1024, 64) == ConvertFlags(chunk=64, shard=1024).options().store.shard_vx


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("category", "colour"), ("format", "zarr2"), ("interpolation", "cubic"), ("max_mag", 3),
        ("codec", "lz77"), ("verify", "no"), ("alpha", "keep"), ("missing_slices", "white"),
        ("cast", "float16"), ("chunk", 48), ("chunk", 4), ("chunk", 1024), ("shard", 16),
        ("shard", (64, 64)), ("shard", (64, 64, 48)), ("threads", 0), ("threads", -1),
        ("memory_gib", 0), ("memory_gib", float("nan")), ("voxel_size_nm", (1, 2)),
        ("voxel_size_nm", (None, None, None)), ("voxel_size_nm", (0, 1, 1)),
        ("voxel_size_nm", (1, 1, float("inf"))), ("voxel_size_nm", (1, -1, 1)),
    ],
)  # fmt: skip
def test_nonsense_names_its_flag(name: str, value: Any):
    """A flag that cannot be meant is refused by its name."""
    with pytest.raises(UsageError, match=f"`{name}` must be"):
        ConvertFlags(**{name: value}).options()


def test_contradicting_flags_are_told():
    """A coarsest mag without downsampling means nothing."""
    with pytest.raises(UsageError, match="contradict"):
        ConvertFlags(max_mag=4, downsample=False).options()


def test_command_and_function_take_the_same_names():
    """Every option of `convert` is a keyword of `stackwatch.convert`, and the other way round."""
    own = {"source", "target", "as_json", "upload", "url", "folder", "token_file"}
    renamed = {"store_format": "format"}
    options = {
        renamed.get(name, name) for name in inspect.signature(convert_command.convert).parameters
    } - own

    assert options == set(typing.get_type_hints(FlagKeywords))
    assert options == set(ConvertFlags.__dataclass_fields__)


def test_places_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Relative paths mean the working directory, `..` is resolved."""
    monkeypatch.chdir(tmp_path)

    assert (tmp_path / "a", tmp_path / "b") == place_request("a", Path("x/../b"))


@pytest.mark.parametrize(("source", "target"), [("/a", "/a"), ("/a", "/a/out"), ("/a/b", "/a")])
def test_a_dataset_never_lies_in_its_source(source: str, target: str):
    """A dataset inside its acquisition would become part of it."""
    with pytest.raises(UsageError, match="inside each other"):
        place_request(source, target)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"executor": "dask"}, "needs the address"),
        ({"executor": "dask", "scheduler": "head:8786"}, "tcp://HOST:8786"),
        ({"executor": "dask", "scheduler": "tcp://h:1", "processes": 2}, "`processes`"),
        ({"processes": 2}, "Set `executor` to processes"),
        ({"scheduler": "tcp://head:8786"}, "Set `executor` to dask"),
    ],
)
def test_what_the_executor_does_not_heed_is_told(said: dict[str, Any], words: str):
    """Nobody waits for hours for processes that were never started."""
    with pytest.raises(UsageError, match=words):
        ConvertFlags(**said).options()
