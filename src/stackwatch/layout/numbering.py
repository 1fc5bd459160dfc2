"""How the numbers of a family count: one constant stride, what is missing, what does not fit.

Pure functions.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from stackwatch.layout.names import Number


@dataclass(frozen=True, slots=True)
class Numbering:
    """Numbers in ascending order, and the stride most of them count with.

    Attributes
    ----------
    values : tuple of Number
        Each number once.
    stride : Number
        The most frequent distance between neighbours, the smaller of equals; 1 for one number.
    positions : tuple of int
        For each value how many strides it lies after the first; empty if there is a break.
    missing : tuple of (Number, Number)
        Ranges of absent numbers, first and last of each.
    breaks : tuple of (Number, Number)
        Neighbours whose distance is no multiple of the stride.
    duplicates : tuple of Number
        Numbers that occurred more than once.
    """

    values: tuple[Number, ...]
    stride: Number
    positions: tuple[int, ...]
    missing: tuple[tuple[Number, Number], ...] = ()
    breaks: tuple[tuple[Number, Number], ...] = ()
    duplicates: tuple[Number, ...] = ()

    @property
    def missing_count(self) -> int:
        """Return how many numbers are absent."""
        return self.positions[-1] + 1 - len(self.values) if self.positions else 0

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing is missing, repeated or out of step."""
        return not (self.missing or self.breaks or self.duplicates)


def read_numbering(numbers: Iterable[Number]) -> Numbering:
    """Find the stride of some numbers, and what deviates from it.

    Decimals may be rounded: a distance fits if it is off by no more than one unit of the last
    decimal place (0.00, 0.33, 0.67, 1.00).

    Parameters
    ----------
    numbers : iterable of Number
        At least one, in any order.

    Examples
    --------
    >>> numbering = read_numbering([1, 2, 4, 8])
    >>> numbering.stride, numbering.missing, numbering.missing_count
    (1, ((3, 3), (5, 7)), 4)
    >>> read_numbering([0, 10, 20, 25, 30, 40]).breaks
    ((20, 25), (25, 30))
    """
    counts = Counter(numbers)
    values = tuple(sorted(counts))
    duplicates = tuple(value for value in values if counts[value] > 1)
    steps: list[Number] = [after - before for before, after in pairwise(values)]
    if not steps:
        return Numbering(values, 1, (0,), duplicates=duplicates)
    frequency = Counter(steps)
    stride = min(frequency, key=lambda step: (-frequency[step], step))
    tolerance = _last_place(values)
    positions = [0]
    missing: list[tuple[Number, Number]] = []
    breaks: list[tuple[Number, Number]] = []
    for before, step in zip(values, steps, strict=False):
        times: int = max(round(Fraction(step) / stride), 1)
        if abs(Fraction(step) - times * Fraction(stride)) > tolerance:
            breaks.append((before, before + step))
        elif times > 1:
            missing.append((before + stride, before + (times - 1) * stride))
        positions.append(positions[-1] + times)
    return Numbering(
        values=values,
        stride=stride,
        positions=() if breaks else tuple(positions),
        missing=tuple(missing),
        breaks=tuple(breaks),
        duplicates=duplicates,
    )


def _last_place(values: tuple[Number, ...]) -> Fraction:
    """Return one unit of the last decimal place in use; 0 for integers."""
    places = 0
    for value in values:
        while places < 12 and (Fraction(value) * 10**places).denominator != 1:
            places += 1
    return Fraction(1, 10**places) if places else Fraction(0)


def show_number(number: Number) -> str:
    """Return a number as it would stand in a name: no fraction strokes.

    Examples
    --------
    >>> show_number(7), show_number(Fraction(-3, 2))
    ('7', '-1.5')
    """
    if isinstance(number, int) or number.denominator == 1:
        return str(int(number))
    return f"{float(number):g}"


def show_ranges(ranges: Iterable[tuple[Number, Number]], limit: int = 12) -> str:
    """Return ranges for people: `412, 977–980`, and how many more there are.

    Examples
    --------
    >>> show_ranges([(412, 412), (977, 980)])
    '412, 977–980'
    """
    shown = [
        show_number(first) if first == last else f"{show_number(first)}–{show_number(last)}"
        for first, last in ranges
    ]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more
