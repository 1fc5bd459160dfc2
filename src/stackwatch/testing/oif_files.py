"""Write Olympus OIF: settings as UTF-16 text, beside them a folder with a TIFF for each plane."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tifffile
from numpy.typing import NDArray
from PIL import Image


def write_oif(
    path: Path, stack_tczyx: NDArray[Any], missing: Iterable[tuple[int, int, int]] = ()
) -> Path:
    """Write an OIF with calibrations of 0.25 and 0.5 µm, and slices 500 nm apart.

    Parameters
    ----------
    path : Path
        Of the `.oif`.
    stack_tczyx : array, shape (t, c, z, y, x), uint16
    missing : iterable of (t, c, z)
        Planes that are declared and not written.
    """
    size_t, size_c, size_z, size_y, size_x = stack_tczyx.shape
    sizes = {"X": size_x, "Y": size_y, "C": size_c, "Z": size_z, "T": size_t}
    lines = ["[ProfileSaveInfo]", 'Name="Olympus"', 'Version="1.0"', ""]
    for number, (axis, size) in enumerate(sizes.items()):
        lines += [
            f"[Axis {number} Parameters Common]", f'AxisCode="{axis}"', f'AxisName="{axis}"',
            f"MaxSize={size if size > 1 or axis in 'XY' else 0}", "Interval=-500",
            'UnitName="nm"', "",
        ]  # fmt: skip
    lines += [
        "[Axis Parameter Common]", f'AxisOrder="{"".join(sizes)}"', "",
        "[Reference Image Parameter]", "WidthConvertValue=0.25", 'WidthUnit="um"',
        "HeightConvertValue=0.5", 'HeightUnit="um"', "ImageDepth=2", "ValidBitCounts=12", "",
    ]  # fmt: skip
    for number in range(1, size_c + 1):
        lines += [f"[Channel {number} Parameters]", f'DyeName="Dye {number}"', ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff\xfe" + "\r\n".join(lines).encode("utf-16-le"))
    folder = path.with_name(f"{path.name}.files")
    folder.mkdir()
    left_out = set(missing)
    for t in range(size_t):
        for c in range(size_c):
            for z in range(size_z):
                if (t, c, z) in left_out:
                    continue
                counts = zip("CZT", (c, z, t), (size_c, size_z, size_t), strict=True)
                name = "".join(f"{axis}{i + 1:03d}" for axis, i, n in counts if n > 1)
                tifffile.imwrite(folder / f"s_{name}.tif", stack_tczyx[t, c, z], metadata=None)
    Image.new("L", (size_x // 2, size_y // 2)).save(folder / "s_Thumb.bmp")
    return path
