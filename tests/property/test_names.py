"""The laws of names and numbers: order of listing never matters, nothing is lost or invented."""

from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from stackwatch.layout.names import natural_key, parse_families
from stackwatch.layout.numbering import read_numbering

WORDS = st.text("abxzc_-. ", max_size=5)
NAMES = st.builds("{}{}{}{}.tif".format, WORDS, st.integers(0, 30), WORDS, st.integers(0, 3))


@given(st.lists(NAMES, min_size=1, unique=True), st.randoms())
def test_families_do_not_depend_on_the_order_of_names(names, random):
    """A directory lists in any order."""
    shuffled = list(names)
    random.shuffle(shuffled)

    assert parse_families(names) == parse_families(shuffled)


@given(st.lists(NAMES, min_size=1, unique=True))
def test_every_name_is_in_exactly_one_family(names):
    """Nothing is lost, nothing counts twice."""
    found = [name for family in parse_families(names) for name in family.names]

    assert sorted(names) == sorted(found)


@given(
    st.integers(0, 10**6),
    st.integers(1, 50),
    st.integers(2, 60),
    st.integers(0, 8),
    st.randoms(),
)
def test_a_numbered_sequence_is_found_whole(first, stride, count, padding, random):
    """Any first number, stride and padding; shuffled; the order is that of the numbers."""
    numbers = [first + stride * i for i in range(count)]
    names = [f"run3_img{n:0{padding}d}.tif" for n in numbers]
    shuffled = list(names)
    random.shuffle(shuffled)
    (family,) = parse_families(shuffled)
    numbering = read_numbering(family.fields[0].values)

    assert (tuple(names), tuple(numbers)) == (family.names, family.fields[0].values)
    assert (stride, True, tuple(range(count))) == (
        numbering.stride,
        numbering.is_whole,
        numbering.positions,
    )


@given(st.integers(-50, 50), st.integers(1, 9), st.integers(5, 60), st.data())
def test_every_gap_is_found(first, stride, count, data):
    """Numbers taken from the middle are reported, exactly those, as long as most steps remain."""
    everything = [first + stride * i for i in range(count)]
    gone = data.draw(st.sets(st.sampled_from(everything[1:-1]), max_size=(count - 2) // 4))
    numbering = read_numbering([n for n in everything if n not in gone])
    assume(numbering.stride == stride)
    reported = {
        n for low, high in numbering.missing for n in range(int(low), int(high) + 1, stride)
    }

    assert (gone, len(gone), ()) == (reported, numbering.missing_count, numbering.breaks)


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1))
def test_positions_rebuild_the_numbers(numbers):
    """Where nothing breaks, first + stride x position is the number; gaps are counted in it."""
    numbering = read_numbering(numbers)
    assume(not numbering.breaks)
    rebuilt = tuple(numbering.values[0] + numbering.stride * p for p in numbering.positions)

    assert numbering.values == rebuilt
    assert numbering.missing_count == numbering.positions[-1] + 1 - len(numbering.values)


@given(st.integers(-40, 0), st.integers(1, 30), st.sampled_from(["0.5", "0.25", "1.5", "0.1"]))
def test_positions_of_a_stage_sort_as_numbers(first, count, step):
    """Signed decimals, as piezo stages write them."""
    values = [Fraction(step) * (first + i) for i in range(count + 2)]
    assume(values[0] < 0 <= values[-1])
    names = [f"z{float(value):.2f}.tif" for value in values]
    (family,) = parse_families(reversed(names))

    assert tuple(names) == family.names


@given(st.lists(st.text(max_size=8)))
def test_natural_order_is_total(names):
    """Any two names compare, and equal keys mean equal names."""
    ordered = sorted(names, key=natural_key)

    assert sorted(names) == sorted(ordered)
    assert len(set(names)) == len({natural_key(name) for name in names})


@given(st.text("ab_", max_size=4), st.integers(0, 10**9), st.integers(0, 10**9))
def test_natural_order_follows_the_number(prefix, one, other):
    """Whatever the padding, the smaller number comes first."""
    assume(one != other)
    key_one, key_other = natural_key(f"{prefix}{one}"), natural_key(f"{prefix}{other:012d}")

    assert (one < other) == (key_one < key_other)
