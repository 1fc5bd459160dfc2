"""Requests on their way to a worker."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackwatch.daemon.channel import open_pair
from stackwatch.daemon.wire import dump_record, load_record
from stackwatch.model.geometry import PartialVoxelSize, Vec3
from stackwatch.model.options import (
    ConvertOptions,
    LayerRule,
    LayoutOptions,
    MagOptions,
    ResourceOptions,
    StoreOptions,
    VoxelSizeOptions,
)
from stackwatch.model.voxels import Category
from stackwatch.pipeline.convert import ConvertRequest
from stackwatch.pipeline.journal import PublishFact

NAMES = st.text(st.characters(exclude_characters="\0"), max_size=8)
FLOATS = st.floats(0.1, 1e6)
OPTIONS = st.builds(
    ConvertOptions,
    dataset_name=st.none() | NAMES,
    layout=st.builds(
        LayoutOptions,
        category=st.none() | st.sampled_from(Category),
        ignore=st.lists(NAMES).map(tuple),
        layer_rules=st.lists(
            st.builds(LayerRule, NAMES, st.none() | NAMES, st.none() | st.sampled_from(Category))
        ).map(tuple),
    ),
    voxel_size=st.builds(
        VoxelSizeOptions,
        st.builds(PartialVoxelSize, st.none() | FLOATS, st.none() | FLOATS, st.none() | FLOATS),
    ),
    store=st.builds(StoreOptions, shard_vx=st.none() | st.builds(Vec3, *[st.integers(1, 99)] * 3)),
    mags=st.builds(MagOptions, max_mag=st.none() | st.integers(1, 64)),
    resources=st.builds(ResourceOptions, st.none() | st.integers(1, 8), st.none() | FLOATS),
)


@given(OPTIONS, st.lists(NAMES).map(tuple))
def test_a_request_survives_the_wire(options, members):
    """Every request comes back equal after a trip through JSON."""
    request = ConvertRequest(Path("/drop/bad\udcff"), Path("/t/x"), options, members, "7-1")

    line = json.dumps(dump_record(request))

    assert request == load_record(ConvertRequest, json.loads(line))


def test_a_fact_survives_the_wire():
    """A publish fact comes back equal."""
    fact = PublishFact("publishing", Path("/t/x"), Path("/t/.stackwatch/1-1/x"), "run", "digest")

    assert fact == load_record(PublishFact, json.loads(json.dumps(dump_record(fact))))


def test_an_unknown_field_is_named():
    """A field of another version is refused by name, not dropped."""
    with pytest.raises((TypeError, KeyError), match="colour"):
        load_record(LayerRule, {"match": "x", "colour": 1})


def test_an_integer_where_a_float_belongs_becomes_one():
    """JSON writes 4.0 as 4 in other hands; the type stays true."""
    options = load_record(ResourceOptions, {"threads": 2, "memory_gib": 4})

    assert isinstance(options.memory_gib, float)


def test_ambiguous_unions_are_refused():
    """A union of two real types cannot be read back, and says so."""

    @dataclass
    class Odd:
        value: int | str

    with pytest.raises(TypeError, match="cannot be read back"):
        load_record(Odd, {"value": 1})


def test_a_channel_carries_undecodable_names_and_ends_with_its_peer():
    """Messages arrive in order; half a line at the end is the end."""
    channel, peer = open_pair()
    with peer:
        channel.send({"name": "bad\udcff"})
        assert b'{"name":"bad\\udcff"}\n' == peer.recv(100)
        peer.sendall(b'{"a":1}\n{"b":')
    try:
        assert [{"a": 1}] == list(channel.iter_messages())
    finally:
        channel.close()
