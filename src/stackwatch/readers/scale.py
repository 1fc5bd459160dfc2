"""Lengths in the units of the field, in nanometres; and which of them are voxel sizes at all."""

import math
import re
from collections.abc import Mapping

from stackwatch.model.geometry import PartialVoxelSize

_NM_PER_UNIT = {
    "pm": 1e-3, "å": 0.1, "a": 0.1, "angstrom": 0.1, "ångström": 0.1,
    "nm": 1.0, "nanometer": 1.0, "nanometre": 1.0,
    "µm": 1e3, "um": 1e3, "micron": 1e3, "micrometer": 1e3, "micrometre": 1e3,
    "mm": 1e6, "millimeter": 1e6, "millimetre": 1e6,
    "cm": 1e7, "centimeter": 1e7, "m": 1e9, "meter": 1e9, "metre": 1e9,
    "in": 2.54e7, "inch": 2.54e7,
}  # fmt: skip
_SMALLEST_NM = 1e-3
"""Below a picometre a number is a placeholder, not a length (an LSM of one plane says 1e-19 m)."""

_LARGEST_TAG_NM = 1e6
_NM_PER_INCH, _NM_PER_CM = 2.54e7, 1e7
_DEFAULT_DPI = (72, 96, 100, 120, 150, 180, 200, 240, 300, 350, 400, 600, 1200)
"""What cameras, scanners and drawing programs write without having measured anything."""

NOWHERE = PartialVoxelSize()

RESOLUTION_TAGS = "TIFF resolution tags"
"""The weakest source of a voxel size: what an instrument says elsewhere wins."""


def length_nm(value: float | None, unit: str) -> float | None:
    r"""Return a length in nanometres; None where value or unit do not make one.

    Examples
    --------
    >>> length_nm(0.25, "\\u00B5m")
    250.0
    >>> length_nm(1.0, "pixel") is None
    True
    """
    factor = _NM_PER_UNIT.get(_plain_unit(unit))
    if value is None or factor is None or not math.isfinite(value):
        return None
    found = value * factor
    return found if found >= _SMALLEST_NM else None


def single_precision(value: float | None) -> float | None:
    """Return a number that comes from 4-byte floats without the digits they do not have.

    Examples
    --------
    >>> single_precision(0.44825000762939453)
    0.44825
    """
    return None if value is None else float(f"{value:.7g}")


def _plain_unit(unit: str) -> str:
    # ImageJ writes its micro sign as the six characters \u00B5 and does not decode them itself.
    unescaped = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda match: chr(int(match[1], 16)), unit)
    plain = unescaped.strip().replace("μ", "µ").lower()
    return plain.removesuffix("s") if len(plain) > 2 else plain


def tag_edge_nm(pixels_per_unit: float | None, resolution_unit: int) -> float | None:
    """Return the pixel edge a TIFF resolution tag states, or None where it is no measurement.

    Zero, a missing unit, the usual dots per inch of printers and screens, and everything from a
    millimetre up are no voxel sizes.

    Source: TIFF 6.0, ResolutionUnit 2 is inch, 3 centimetre. Bio-Formats writes 0/1000 for unknown.
    """
    unit_nm = {2: _NM_PER_INCH, 3: _NM_PER_CM}.get(resolution_unit)
    if not pixels_per_unit or unit_nm is None or pixels_per_unit < 0:
        return None
    edge_nm = unit_nm / pixels_per_unit
    dots_per_inch = _NM_PER_INCH / edge_nm
    # A dpi value kept in whole pixels per centimetre comes back up to 2 % off (28 for 28.35).
    if any(math.isclose(dots_per_inch, usual, rel_tol=0.002) for usual in _DEFAULT_DPI):
        return None
    if resolution_unit == 3 and pixels_per_unit in {28.0, 38.0, 39.0, 59.0, 118.0, 236.0}:
        return None
    return edge_nm if _SMALLEST_NM <= edge_nm < _LARGEST_TAG_NM else None


def imagej_voxel_size(
    words: Mapping[str, str], x_ratio: float | None, y_ratio: float | None
) -> PartialVoxelSize:
    """Return what an ImageJ description says.

    Parameters
    ----------
    words : mapping of str to str
        The lines `key=value` of the description.
    x_ratio, y_ratio : float or None
        Resolution tags: pixels per `unit`.

    Source: ImageJ's TIFF encoder: `unit`, `yunit`, `zunit`, `spacing`; Fiji samples.
    """
    unit = words.get("unit", "")
    x = length_nm(1 / x_ratio if x_ratio else None, unit)
    y = length_nm(1 / y_ratio if y_ratio else None, words.get("yunit", unit))
    if _plain_unit(unit) in {"in", "inch", "cm"}:
        # ImageJ carries the printing resolution of a picture along as if it were a calibration.
        code = 3 if _plain_unit(unit) == "cm" else 2
        x, y = tag_edge_nm(x_ratio, code), tag_edge_nm(y_ratio, code)
    z = length_nm(number_of(words.get("spacing")), words.get("zunit", unit))
    return PartialVoxelSize(x, y, z)


def number_of(text: str | None) -> float | None:
    """Return a text as a number, or None."""
    try:
        return float(text) if text else None
    except ValueError:
        return None


def complete(
    first: PartialVoxelSize, first_source: str, second: PartialVoxelSize, second_source: str
) -> tuple[PartialVoxelSize, str]:
    """Take each axis from the first that knows it, and name the sources that were used."""
    size = PartialVoxelSize(
        *(a if a is not None else b for a, b in zip(first, second, strict=True))
    )
    used = [first_source] if any(first) else []
    if any(a is None and b is not None for a, b in zip(first, second, strict=True)):
        used.append(second_source)
    return size, ", ".join(used)
