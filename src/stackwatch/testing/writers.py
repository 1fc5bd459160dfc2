"""Write single images, sequences, and the dialects of TIFF to disk; and damage them."""

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import tifffile
from numpy.typing import NDArray
from PIL import Image

Damage = Literal["truncated", "empty", "text", "missing"]


def write_image(path: Path, picture: NDArray[Any], **tiff_options: Any) -> Path:
    """Write one picture; the suffix chooses the format.

    Parameters
    ----------
    path : Path
        `.tif` and `.tiff` go through tifffile, everything else through Pillow.
    picture : array, shape (y, x) or (y, x, samples)
    **tiff_options
        Further arguments of `tifffile.imwrite` (compression, tile, byteorder, resolution …).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() not in {".tif", ".tiff"}:
        Image.fromarray(picture).save(path)
        return path
    if picture.ndim == 3 and picture.shape[-1] in {3, 4}:
        tiff_options.setdefault("photometric", "rgb")
    else:
        tiff_options.setdefault("photometric", "minisblack")
    tiff_options.setdefault("metadata", None)
    tifffile.imwrite(path, picture, ome=False, **tiff_options)
    return path


def write_sequence(
    folder: Path,
    slices: Iterable[NDArray[Any]],
    pattern: str = "slice_{z:04d}.tif",
    *,
    numbers: Sequence[float | str] | None = None,
    missing: Sequence[int] = (),
    **tiff_options: Any,
) -> tuple[Path, ...]:
    """Write one file per slice.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    slices : iterable of arrays, shape (y, x) or (y, x, samples)
        In z order.
    pattern : str
        File name with `{z}` for the number, e.g. `img_{z}.png`.
    numbers : sequence of numbers or None
        The number in each name; by default 0, 1, 2 …
    missing : sequence of int
        Positions in z whose file is left out.

    Returns
    -------
    tuple of Path
        The files written, in z order.
    """
    paths: list[Path] = []
    for z, picture in enumerate(slices):
        if z in missing:
            continue
        number = z if numbers is None else numbers[z]
        paths.append(write_image(folder / pattern.format(z=number), picture, **tiff_options))
    return tuple(paths)


def write_multipage(
    path: Path,
    slices: Iterable[NDArray[Any]],
    **tiff_options: Any,
) -> Path:
    """Write plain pages one after another, without a word on what they mean."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bigtiff = bool(tiff_options.pop("bigtiff", False))
    with tifffile.TiffWriter(path, bigtiff=bigtiff, ome=False) as writer:
        for picture in slices:
            is_rgb = picture.ndim == 3 and picture.shape[-1] in {3, 4}
            writer.write(
                picture,
                contiguous=False,
                metadata=None,
                photometric="rgb" if is_rgb else "minisblack",
                **tiff_options,
            )
    return path


def write_ome_tiff(
    path: Path,
    stack_tczyx: NDArray[Any],
    *,
    voxel_size_nm: tuple[float, float, float] | None = None,
    channel_names: Sequence[str] = (),
    **tiff_options: Any,
) -> Path:
    """Write one OME-TIFF.

    Parameters
    ----------
    path : Path
    stack_tczyx : array, shape (t, c, z, y, x)
    voxel_size_nm : (x, y, z) or None
        Written as PhysicalSize in micrometres; None leaves it out.
    channel_names : sequence of str
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata: dict[str, Any] = {"axes": "TCZYX"}
    if voxel_size_nm is not None:
        for axis, size_nm in zip("XYZ", voxel_size_nm, strict=True):
            metadata[f"PhysicalSize{axis}"] = size_nm / 1000
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if channel_names:
        metadata["Channel"] = {"Name": list(channel_names)}
    tifffile.imwrite(
        path, stack_tczyx, ome=True, photometric="minisblack", metadata=metadata, **tiff_options
    )
    return path


def write_imagej(
    path: Path,
    stack_tzcyx: NDArray[Any],
    *,
    voxel_size_nm: tuple[float, float, float] | None = None,
    unit: str = "micron",
) -> Path:
    r"""Write one ImageJ hyperstack (uint8, uint16 or float32).

    Parameters
    ----------
    path : Path
    stack_tzcyx : array, shape (t, z, c, y, x)
    voxel_size_nm : (x, y, z) or None
    unit : str
        The literal text of ImageJ's unit field; `\u00B5m` undecoded is a real one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata: dict[str, Any] = {"axes": "TZCYX"}
    options: dict[str, Any] = {}
    if voxel_size_nm is not None:
        x_um, y_um, z_um = (size / 1000 for size in voxel_size_nm)
        metadata |= {"spacing": z_um, "unit": unit}
        options["resolution"] = (1 / x_um, 1 / y_um)
    tifffile.imwrite(path, stack_tzcyx, imagej=True, metadata=metadata, **options)
    return path


def ome_xml(
    file_names: Sequence[str],
    shape_zyx: tuple[int, int, int],
    dtype: str,
    *,
    channels: int = 1,
    set_uuid: str = "",
    file_uuids: Sequence[str] = (),
    voxel_size_nm: tuple[float, float, float] | None = None,
) -> str:
    """Return the OME-XML of a set of files that hold one plane each, z fastest, then c.

    Parameters
    ----------
    file_names : sequence of str
        One for each plane: all z of channel 0, then all of channel 1.
    set_uuid : str
        The UUID of the file that carries this description; empty takes the first file's.
    file_uuids : sequence of str
        One for each file; made up from the names if empty.
    """
    size_z, size_y, size_x = shape_zyx
    uuids = list(file_uuids) or [_uuid_of(name) for name in file_names]
    physical = ""
    if voxel_size_nm is not None:
        physical = "".join(
            f' PhysicalSize{axis}="{size / 1000}" PhysicalSize{axis}Unit="µm"'
            for axis, size in zip("XYZ", voxel_size_nm, strict=True)
        )
    planes = "".join(
        f'<TiffData FirstC="{i // size_z}" FirstZ="{i % size_z}" FirstT="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{uuids[i]}</UUID></TiffData>'
        for i, name in enumerate(file_names)
    )
    ome_type = {"float32": "float", "float64": "double"}.get(dtype, dtype)
    marks = "".join(f'<Channel ID="Channel:0:{c}" SamplesPerPixel="1"/>' for c in range(channels))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="urn:uuid:{set_uuid or uuids[0]}"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="{ome_type}" SizeX="{size_x}" '
        f'SizeY="{size_y}" SizeZ="{size_z}" SizeC="{channels}" SizeT="1"{physical}>'
        f"{marks}{planes}</Pixels></Image></OME>"
    )


def write_ome_set(
    folder: Path,
    stack_czyx: NDArray[Any],
    pattern: str = "img_c{c}_z{z:03d}.ome.tif",
    *,
    voxel_size_nm: tuple[float, float, float] | None = None,
    missing: Sequence[int] = (),
) -> tuple[Path, ...]:
    """Write an OME-TIFF set: one plane per file, every file naming all of them.

    Parameters
    ----------
    folder : Path
    stack_czyx : array, shape (c, z, y, x)
    missing : sequence of int
        Positions (channel by channel) of files that are named but not written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    channels, size_z = stack_czyx.shape[:2]
    names = [pattern.format(c=c, z=z) for c in range(channels) for z in range(size_z)]
    paths: list[Path] = []
    for position, name in enumerate(names):
        if position in missing:
            continue
        description = ome_xml(
            names,
            (size_z, stack_czyx.shape[2], stack_czyx.shape[3]),
            str(stack_czyx.dtype),
            channels=channels,
            set_uuid=_uuid_of(name),
            voxel_size_nm=voxel_size_nm,
        )
        plane = stack_czyx[position // size_z, position % size_z]
        write_image(folder / name, plane, description=description.encode())
        paths.append(folder / name)
    return tuple(paths)


def _uuid_of(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def damage_file(path: Path, damage: Damage, fraction: float = 0.6) -> None:
    """Do to a file what happens to files.

    Parameters
    ----------
    path : Path
    damage : Damage
        `truncated` keeps the first `fraction` of the bytes, `empty` none, `text` replaces them by
        words, `missing` removes the file.
    """
    match damage:
        case "truncated":
            content = path.read_bytes()
            path.write_bytes(content[: int(len(content) * fraction)])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("These are notes, not an image.\n")
        case "missing":
            path.unlink()
