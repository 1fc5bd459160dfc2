"""Strides, gaps and breaks, by example."""

from fractions import Fraction

import pytest

from stackwatch.layout.numbering import read_numbering, show_number, show_ranges


@pytest.mark.parametrize(
    ("numbers", "stride", "missing", "breaks"),
    [
        ([5], 1, (), ()),
        ([3, 1, 2], 1, (), ()),
        ([7, 8, 9], 1, (), ()),
        ([0, 10, 20, 30], 10, (), ()),
        ([1, 2, 4, 7], 1, ((3, 3), (5, 6)), ()),
        ([1, 2, 4], 1, ((3, 3),), ()),
        ([0, 10, 20, 40], 10, ((30, 30),), ()),
        ([0, 10, 20, 25, 30, 40], 10, (), ((20, 25), (25, 30))),
        ([-2, -1, 0, 1], 1, (), ()),
    ],
)
def test_most_neighbours_give_the_stride(numbers, stride, missing, breaks):
    """Multiples of the stride are gaps, anything else is a break; the first number is free."""
    numbering = read_numbering(numbers)

    assert (stride, missing, breaks) == (numbering.stride, numbering.missing, numbering.breaks)
    assert (not missing and not breaks) == numbering.is_whole


def test_duplicates_are_named():
    """`1` and `01` are one number."""
    numbering = read_numbering([1, 2, 1, 3, 3])

    assert ((1, 3), False) == (numbering.duplicates, numbering.is_whole)


def test_rounded_decimals_count():
    """0.33, 0.67: thirds written with two places."""
    numbers = [Fraction(text) for text in ("0.00", "0.33", "0.67", "1.00", "1.33")]

    assert read_numbering(numbers).is_whole


def test_a_missing_decimal_is_missed():
    """Positions in steps of a half, one absent."""
    numbers = [Fraction(text) for text in ("0", "0.5", "1.5", "2.0")]
    numbering = read_numbering(numbers)

    assert ((Fraction(1), Fraction(1)),) == numbering.missing
    assert ((0, 1, 3, 4), 1) == (numbering.positions, numbering.missing_count)


def test_a_huge_gap_costs_nothing():
    """Missing numbers are counted, not listed."""
    numbering = read_numbering([1, 2, 10**15])

    assert 10**15 - 3 == numbering.missing_count


def test_ranges_for_people():
    """Single numbers, ranges, and how many more there are."""
    assert "3, 5–9" == show_ranges([(3, 3), (5, 9)])
    assert "1, 2 and 3 more" == show_ranges([(i, i) for i in range(1, 6)], limit=2)
    assert ("-1.5", "2") == (show_number(Fraction(-3, 2)), show_number(Fraction(2)))
