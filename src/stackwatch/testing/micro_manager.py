"""Write acquisitions as Micro-Manager stores them: an image per file, or image stack files.

From the description of its file formats. Every plane's values tell its place.
"""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

Generation = Literal["1.4", "2.0"]
Place = tuple[int, int, int, int]
"""Position, timepoint, channel, slice."""

_HEADER: Final = struct.Struct("<8I")


@dataclass(frozen=True, slots=True)
class MicroManagerRun:
    """What an acquisition was meant to be.

    Attributes
    ----------
    positions : tuple of str
        Their names; `Default` is what 2.0 calls the only one.
    size_t, size_z : int
    channels : tuple of str
    shape_yx : (int, int)
    generation : Generation
        Of the program: names and metadata of files differ.
    pixel_um, step_um : float
    colors : tuple of int
        Of the channels, as signed ARGB.
    """

    positions: tuple[str, ...] = ("Default",)
    size_t: int = 1
    channels: tuple[str, ...] = ("DAPI", "FITC")
    size_z: int = 3
    shape_yx: tuple[int, int] = (12, 16)
    generation: Generation = "2.0"
    pixel_um: float = 0.65
    step_um: float = -2.0
    colors: tuple[int, ...] = ()

    def plane(self, place: Place) -> NDArray[np.uint16]:
        """Return the picture of one place: its values name it, and x and y."""
        p, t, c, z = place
        y, x = np.indices(self.shape_yx)
        number = ((p * self.size_t + t) * len(self.channels) + c) * self.size_z + z
        picture: NDArray[np.uint16] = (number * 256 + y * 16 + x).astype(np.uint16)
        return picture

    def places(self, order: str = "ptcz") -> list[Place]:
        """Return every place, the last letter of `order` fastest."""
        sizes = {
            "p": len(self.positions), "t": self.size_t, "c": len(self.channels), "z": self.size_z
        }  # fmt: skip
        found = []
        for index in np.ndindex(*(sizes[letter] for letter in order)):
            at = dict(zip(order, map(int, index), strict=True))
            found.append((at["p"], at["t"], at["c"], at["z"]))
        return found

    def summary(self) -> dict[str, Any]:
        """Return the summary that heads the metadata."""
        old = {
            "Frames": self.size_t,
            "Channels": len(self.channels),
            "Slices": self.size_z,
            "Positions": len(self.positions),
            "ChNames": list(self.channels),
            "ChColors": list(self.colors or (-1,) * len(self.channels)),
            "z-step_um": self.step_um,
            "PixelType": "GRAY16",
            "Prefix": "run",
            "Source": "Micro-Manager",
        }
        if self.generation == "1.4":
            listed = [{"Label": name} for name in self.positions] if self.has_positions else []
            return old | {
                "MicroManagerVersion": "1.4.23",
                "PixelSize_um": self.pixel_um,
                "InitialPositionList": listed or None,
            }
        return old | {
            "MicroManagerVersion": "2.0.0",
            "IntendedDimensions": {
                "time": self.size_t,
                "position": len(self.positions),
                "z": self.size_z,
                "channel": len(self.channels),
            },
            "AxisOrder": ["z", "channel", "position", "time"],
            "StagePositions": [{"Label": n} for n in self.positions] if self.has_positions else [],
        }

    @property
    def has_positions(self) -> bool:
        """Whether the positions bear names of their own."""
        return self.positions != ("Default",)

    def file_name(self, place: Place) -> str:
        """Return the name of an image file."""
        p, t, c, z = place
        if self.generation == "1.4":
            return f"img_{t:09d}_{self.channels[c]}_{z:03d}.tif"
        return f"img_channel{c:03d}_position{p:03d}_time{t:09d}_z{z:03d}.tif"

    def plane_metadata(self, place: Place) -> dict[str, Any]:
        """Return what is told of one plane."""
        p, t, c, z = place
        return {
            "FrameIndex": t,
            "ChannelIndex": c,
            "SliceIndex": z,
            "PositionIndex": p,
            "PixelSizeUm": self.pixel_um,
            "Channel": self.channels[c],
            "Width": self.shape_yx[1],
            "Height": self.shape_yx[0],
        }


def write_image_files(
    root: Path, run: MicroManagerRun, missing: Iterable[Place] = (), *, is_closed: bool = True
) -> tuple[Path, ...]:
    """Write an image per file, in a folder for each position with its `metadata.txt`.

    Parameters
    ----------
    root : Path
    run : MicroManagerRun
    missing : iterable of Place
        Planes that were not taken: neither file nor metadata.
    is_closed : bool
        Whether the acquisition ended: only then Micro-Manager closes the metadata.
    """
    left_out, paths = set(missing), []
    for p, name in enumerate(run.positions):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        parts = [f'"Summary": {json.dumps(run.summary(), indent=2)}']
        for place in run.places("ptzc"):
            if place[0] != p or place in left_out:
                continue
            file = folder / run.file_name(place)
            tifffile.imwrite(file, run.plane(place), metadata=None)
            paths.append(file)
            parts += _told(run, place, file)
        text = "{\n" + ",\n".join(parts) + ("\n}\n" if is_closed else ",\n")
        (folder / "metadata.txt").write_text(text, encoding="utf-8")
    return tuple(paths)


def _told(run: MicroManagerRun, place: Place, file: Path) -> list[str]:
    told = run.plane_metadata(place)
    if run.generation == "1.4":
        _, t, c, z = place
        return [f'"FrameKey-{t}-{c}-{z}": {json.dumps({"FileName": file.name, **told})}']
    key = f"{file.parent.name}/{file.name}"
    coords = {"position": place[0], "time": place[1], "channel": place[2], "z": place[3]}
    shown = {key: told[key] for key in ("PixelSizeUm", "Width", "Height")}
    return [f'"Coords-{key}": {json.dumps(coords)}', f'"Metadata-{key}": {json.dumps(shown)}']


def write_mmstack(
    path: Path,
    run: MicroManagerRun,
    places: Sequence[Place],
    *,
    is_closed: bool = True,
    descriptions: Sequence[str] = (),
) -> Path:
    """Write one image stack file with the planes of these places, in this order.

    Parameters
    ----------
    path : Path
    run : MicroManagerRun
    places : sequence of Place
    is_closed : bool
        Whether the table of planes is written, as it is at the end of the acquisition.
    descriptions : sequence of str
        Texts of the first page: OME-XML, then the one for ImageJ.
    """
    summary = json.dumps(run.summary()).encode()
    body = bytearray(b"II*\0" + bytes(4) + bytes(_HEADER.size) + summary)
    body += bytes(len(body) % 2)
    struct.pack_into("<I", body, 4, len(body))
    table = b""
    for number, place in enumerate(places):
        texts = [text.encode() + b"\0" for text in descriptions] if number == 0 else []
        table += struct.pack("<5I", place[2], place[3], place[1], place[0], len(body))
        _append_page(body, run, place, texts, is_last=number == len(places) - 1)
    at = len(body) if is_closed else 0
    if is_closed:
        body += struct.pack("<2I", 3453623, len(places)) + table
    _HEADER.pack_into(body, 8, 54773648, at, 483765892, 0, 99384722, 0, 2355492, len(summary))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(body))
    return path


def _append_page(
    body: bytearray, run: MicroManagerRun, place: Place, texts: list[bytes], *, is_last: bool
) -> None:
    """Append a directory, its pixels, and what does not fit into either."""
    height, width = run.shape_yx
    pixels = run.plane(place).tobytes()
    told = json.dumps(run.plane_metadata(place)).encode() + b"\0"
    tags: list[tuple[int, int, int, int | bytes]] = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1),
        (262, 3, 1, 1), *((270, 2, len(text), text) for text in texts), (273, 4, 1, 0),
        (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(pixels)), (282, 5, 1, _ratio(1)),
        (283, 5, 1, _ratio(1)), (296, 3, 1, 1), (51123, 2, len(told), told),
    ]  # fmt: skip
    start = len(body)
    after = start + 2 + 12 * len(tags) + 4
    extra = bytearray()
    entries = b""
    for code, kind, count, value in tags:
        field = value
        if code == 273:
            field = after
        elif isinstance(value, bytes):
            field = after + len(pixels) + len(extra)
            extra += value + bytes(len(value) % 2)
        assert isinstance(field, int)
        entries += struct.pack("<HHII", code, kind, count, field)
    following = 0 if is_last else after + len(pixels) + len(extra)
    body += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + pixels + extra


def _ratio(value: int) -> bytes:
    return struct.pack("<2I", value, 1)


def ome_pointer(master: str, uuid: str) -> str:
    """Return the OME-XML of a file whose description stands in another one."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME '
        'xmlns="http://www.openmicroscopy.org/Schemas/OME/2013-06">'
        f'<BinaryOnly MetadataFile="{master}" UUID="urn:uuid:{uuid}"/></OME>'
    )


def imagej_words(run: MicroManagerRun) -> str:
    """Return the description for ImageJ: channels fastest, whatever the order of the pages."""
    words: Mapping[str, int] = {
        "images": len(run.channels) * run.size_z * run.size_t,
        "channels": len(run.channels),
        "slices": run.size_z,
        "frames": run.size_t,
    }
    return (
        "ImageJ=1.52\n" + "".join(f"{key}={n}\n" for key, n in words.items()) + "hyperstack=true\n"
    )
