"""Where a dataset comes from, told in pairs that outlive its files."""

from stackwatch.pipeline.provenance import LONGEST_VALUE, MOST_FACTS, provenance_facts

MANIFEST = {
    "source": "/drop/em/run",
    "content_digest": "d1",
    "stackwatch": "1.2",
    "scene": None,
    "metadata": {
        "channels": {"color": "DAPI"},
        "rescaled_from": {"color": [0, 4095]},
        "sidecar": {
            "operator": "A. Meier",
            "dwell_us": 3.2,
            "is_good": True,
            "tags": ["a", "b"],
            "stackwatch_source": "/etc/shadow",
        },
    },
}


def test_a_manifest_becomes_pairs():
    """Instrument and sidecar are told; nobody passes for us, and what is not known is left out."""
    assert {
        "stackwatch_source": "/drop/em/run",
        "stackwatch_content_digest": "d1",
        "stackwatch_version": "1.2",
        "stackwatch_channels.color": "DAPI",
        "stackwatch_rescaled_from.color": "0, 4095",
        "operator": "A. Meier",
        "dwell_us": "3.2",
        "is_good": "true",
        "tags": "a, b",
    } == dict(provenance_facts(MANIFEST))


def test_a_long_story_is_cut():
    """No value and no number of facts grows without end; keys are there once."""
    said = {f"k{n}": "x" * 5000 for n in range(3 * MOST_FACTS)}
    facts = provenance_facts({"metadata": {"sidecar": said}})

    assert MOST_FACTS == len(facts) == len(dict(facts))
    assert LONGEST_VALUE == max(len(value) for _, value in facts)


def test_a_manifest_of_another_shape_tells_nothing():
    """What is no table is no metadata."""
    assert () == provenance_facts({"metadata": ["a"]})
    assert () == provenance_facts({"metadata": {"sidecar": "a"}})
