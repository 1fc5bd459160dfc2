"""OME-TIFF: dimension orders, sets of files, what is declared against what is there."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stackwatch.errors import (
    CorruptSliceError,
    IncompleteAcquisitionError,
    LimitExceededError,
    UnsupportedFormatError,
)
from stackwatch.readers.ome import OmePlane, parse_ome

ORDERS = ["".join(("XY", *order)) for order in itertools.permutations("ZCT")]


def ome_xml(pixels: str, body: str = "", root: str = "") -> str:
    """Return a minimal OME-XML."""
    return (
        '<?xml version="1.0"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" {root}>'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint16" SizeX="10" SizeY="6" {pixels}>'
        f"{body}</Pixels></Image></OME>"
    )


def write_pages(path, planes: np.ndarray, description: str) -> None:
    """Write pages with an OME-XML of our own."""
    tifffile.imwrite(
        path, planes, photometric="minisblack", metadata=None, description=description.encode()
    )


def write_images(path: Path, *images: tuple[np.ndarray, dict[str, object]]) -> Path:
    """Write several images into one OME-TIFF, as its library does."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        for image, told in images:
            is_rgb = image.shape[-1] == 3
            axes = "YXS" if is_rgb else "ZYX"[-image.ndim :]
            writer.write(
                image,
                photometric="rgb" if is_rgb else "minisblack",
                metadata={"axes": axes, **told},
            )
    return path


@pytest.fixture
def planes() -> np.ndarray:
    """Return 24 pages whose values are their page number."""
    return np.broadcast_to(np.arange(24, dtype=np.uint16)[:, None, None], (24, 6, 10)).copy()


@pytest.mark.parametrize("order", ORDERS)
def test_dimension_orders(tmp_path, open_path, planes, order):
    """In every dimension order each (t, c, z) is the page it should be."""
    sizes = {"Z": 4, "C": 3, "T": 2}
    path = tmp_path / "ordered.ome.tif"
    attributes = " ".join(f'Size{axis}="{size}"' for axis, size in sizes.items())
    xml = ome_xml(f'DimensionOrder="{order}" {attributes}', "<TiffData/>")
    write_pages(path, planes, xml)
    pages = np.arange(24).reshape([sizes[axis] for axis in reversed(order[2:])])
    expected = pages.transpose([order[:1:-1].index(axis) for axis in "TCZ"])

    reader = open_path(path)
    found = [
        [[int(reader.read_plane(t, c, z, (0, 6))[0, 0]) for z in range(4)] for c in range(3)]
        for t in range(2)
    ]

    np.testing.assert_array_equal(expected, found)
    assert (True, True) == (reader.info.is_z_declared, reader.info.is_time_declared)


def test_tiff_data_blocks_place_planes(tmp_path, open_path, planes):
    """Blocks may put the planes anywhere; a block with a page and no count means one plane."""
    path = tmp_path / "placed.ome.tif"
    body = (
        '<TiffData IFD="2" FirstZ="0"/><TiffData IFD="0" FirstZ="1"/>'
        '<TiffData IFD="1" FirstZ="2" PlaneCount="1"/>'
    )
    write_pages(path, planes[:3], ome_xml('SizeZ="3" SizeC="1" SizeT="1"', body))

    reader = open_path(path)

    assert [2, 0, 1] == [int(reader.read_plane(0, 0, z, (0, 6))[0, 0]) for z in range(3)]


def test_voxel_size_and_channels(tmp_path, open_path, planes):
    """Physical sizes with their units, channel names and colours are taken over."""
    path = tmp_path / "told.ome.tif"
    body = (
        '<Channel ID="c0" Name="DAPI" Color="-16776961"/><Channel ID="c1" Name="GFP"/>'
        '<TiffData PlaneCount="2"/>'
    )
    size = 'PhysicalSizeX="0.1" PhysicalSizeY="200" PhysicalSizeYUnit="nm" PhysicalSizeZ="0"'
    write_pages(path, planes[:2], ome_xml(f'SizeZ="1" SizeC="2" SizeT="1" {size}', body))

    info = open_path(path).info

    assert (100.0, 200.0, None) == tuple(info.voxel_size_nm)
    assert "OME-XML PhysicalSize" == info.voxel_size_source
    assert ["DAPI", "GFP"] == [channel.name for channel in info.channels]
    assert [(255, 0, 0), None] == [channel.color_rgb for channel in info.channels]


def test_rgb_channels_are_samples(tmp_path, open_path):
    """SizeC of an RGB OME-TIFF counts samples; it has one channel."""
    path = tmp_path / "rgb.ome.tif"
    pixels = np.zeros((2, 6, 10, 3), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", ome=True, metadata={"axes": "ZYXS"})

    info = open_path(path).info

    assert ("rgb", 1, 2) == (info.pixels.kind, info.size_c, info.size_z)


def test_missing_pages_mean_more_to_come(tmp_path, open_path, planes):
    """L16: a file that declares more planes than it has is incomplete, no shorter stack."""
    path = tmp_path / "short.ome.tif"
    write_pages(path, planes[:4], ome_xml('SizeZ="6" SizeC="1" SizeT="1"', "<TiffData/>"))

    with pytest.raises(IncompleteAcquisitionError) as caught:
        open_path(path)

    assert (6, 4) == (
        caught.value.values["planes_declared"], caught.value.values["planes_present"],
    )  # fmt: skip


def test_planes_without_a_place_are_not_there(tmp_path, open_path, planes):
    """A plane that no TiffData names is missing."""
    path = tmp_path / "hole.ome.tif"
    body = '<TiffData IFD="0" FirstZ="0"/><TiffData IFD="1" FirstZ="2"/>'
    write_pages(path, planes[:2], ome_xml('SizeZ="3" SizeC="1" SizeT="1"', body))

    with pytest.raises(IncompleteAcquisitionError):
        open_path(path)


def test_several_images_are_named(tmp_path, open_path, planes):
    """Each of several images is opened by its number, with its own extent, pixels and scale."""
    path = write_images(
        tmp_path / "two.ome.tif",
        (planes[:2], {"Name": "far", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}),
        (planes[5:8, :4].astype(np.uint8), {"Name": "near", "PhysicalSizeX": 7}),
    )
    one, two = open_path(path), open_path(path, 1)

    assert ("far", "near") == one.info.scenes == two.info.scenes
    assert [(0, 2, 6, "uint16", 500.0), (1, 3, 4, "uint8", 7000.0)] == [
        (info.scene, info.size_z, info.size_y, info.pixels.dtype_name, info.voxel_size_nm.x)
        for info in (one.info, two.info)
    ]
    np.testing.assert_array_equal(planes[1], one.read_plane(0, 0, 1, (0, 6)))
    np.testing.assert_array_equal(planes[7, :4], two.read_plane(0, 0, 2, (0, 4)))
    with pytest.raises(UnsupportedFormatError, match="no image 3: it holds 2"):
        open_path(path, 2)


def test_pictures_beside_the_image_are_left_out(tmp_path, open_path, planes):
    """A slide's label and macro picture are named as left out; colours there do no harm."""
    colours = np.zeros((4, 5, 3), np.uint8)
    path = write_images(
        tmp_path / "slide.ome.tif",
        (planes[0], {"Name": "slide"}),
        (colours, {"Name": "label image"}),
        (colours, {"Name": "Macro"}),
    )
    info = open_path(path).info

    assert ((), ("“label image” left out: a preview", "“Macro” left out: a preview")) == (
        info.scenes,
        info.notes,
    )


def test_pyramids_of_several_images(tmp_path, open_path, planes):
    """The coarser levels of each image are its own, and are left out."""
    path = tmp_path / "levels.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name, image in (("A", planes[:2]), ("B", planes[2:5])):
            writer.write(image, subifds=1, photometric="minisblack",
                         metadata={"axes": "ZYX", "Name": name})  # fmt: skip
            writer.write(image[:, ::2, ::2], subfiletype=1, photometric="minisblack")
    reader = open_path(path, 1)

    assert ((("A", "B"), 3), ("1 coarser pyramid level left out",)) == (
        (reader.info.scenes, reader.info.size_z),
        reader.info.notes,
    )
    np.testing.assert_array_equal(planes[4], reader.read_plane(0, 0, 2, (0, 6)))


def test_images_in_files_of_their_own(tmp_path, open_path, planes):
    """Of a set with an image in each file, each file is its own image, and says so."""
    body = '<TiffData IFD="0"><UUID FileName="{0}.ome.tif">urn:uuid:{0}</UUID></TiffData>'
    images = "".join(
        f'<Image ID="Image:{i}" Name="{name}"><Pixels ID="Pixels:{i}" Type="uint16" SizeX="10" '
        f'SizeY="6" SizeZ="1" SizeC="1" SizeT="1">{body.format(name)}</Pixels></Image>'
        for i, name in enumerate("ab")
    )
    for name, plane in zip("ab", planes, strict=False):
        xml = f'<OME UUID="urn:uuid:{name}">{images}</OME>'
        write_pages(tmp_path / f"{name}.ome.tif", plane, xml)
    reader = open_path(tmp_path / "b.ome.tif")

    assert ((), (), ("1 images lie in other files",)) == (
        reader.info.scenes,
        reader.info.set_files,
        reader.info.notes,
    )
    assert 1 == reader.read_plane(0, 0, 0, (0, 6))[0, 0]


def test_images_that_claim_the_same_pages(tmp_path, open_path, planes):
    """Two images without places for their planes would be one twice: refused."""
    pixels = '<Pixels ID="P" Type="uint16" SizeX="10" SizeY="6" SizeZ="2" SizeC="1" SizeT="1"/>'
    xml = f'<OME><Image Name="a">{pixels}</Image><Image Name="b">{pixels}</Image></OME>'
    write_pages(tmp_path / "same.ome.tif", planes[:2], xml)

    with pytest.raises(UnsupportedFormatError, match="cannot be told apart"):
        open_path(tmp_path / "same.ome.tif")


def set_xml(own: int, count: int) -> str:
    """Return the OME-XML of one file of a set with one plane in each file."""
    body = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="s_{z}.ome.tif">urn:uuid:{z}</UUID></TiffData>'
        for z in range(count)
    )
    return ome_xml(f'SizeZ="{count}" SizeC="1" SizeT="1"', body, f'UUID="urn:uuid:{own}"')


def test_set_of_files(tmp_path, open_path, planes):
    """Each file of a set knows the set, its own planes, and opens no sibling."""
    for z in range(3):
        write_pages(tmp_path / f"s_{z}.ome.tif", planes[z : z + 1], set_xml(z, 3))

    readers = [open_path(tmp_path / f"s_{z}.ome.tif") for z in range(3)]

    assert {("s_0.ome.tif", "s_1.ome.tif", "s_2.ome.tif")} == {
        reader.info.set_files for reader in readers
    }
    assert {"urn:uuid:0"} == {reader.info.set_uuid for reader in readers}
    assert [((0, 0, z),) for z in range(3)] == [reader.info.set_planes_tcz for reader in readers]
    assert [0, 1, 2] == [int(readers[z].read_plane(0, 0, z, (0, 6))[0, 0]) for z in range(3)]
    with pytest.raises(UnsupportedFormatError):
        readers[0].read_plane(0, 0, 1, (0, 6))


def test_renamed_single_file(tmp_path, open_path, planes):
    """A file whose OME-XML still carries its old name is no set."""
    path = tmp_path / "new.ome.tif"
    body = (
        '<TiffData IFD="0" PlaneCount="3"><UUID FileName="old.ome.tif">urn:uuid:a</UUID></TiffData>'
    )
    write_pages(path, planes[:3], ome_xml('SizeZ="3" SizeC="1" SizeT="1"', body))

    info = open_path(path).info

    assert (3, (), "") == (info.size_z, info.set_files, info.set_uuid)


def test_binary_only(tmp_path, open_path, planes):
    """A file whose description stands elsewhere is refused, the other file is named."""
    path = tmp_path / "part.ome.tif"
    xml = '<?xml version="1.0"?><OME><BinaryOnly MetadataFile="main.companion.ome" UUID="u"/></OME>'
    write_pages(path, planes[:1], xml)

    with pytest.raises(UnsupportedFormatError) as caught:
        open_path(path)

    assert "main.companion.ome" in caught.value.message


@pytest.mark.parametrize(
    ("xml", "error"),
    [
        ('<!DOCTYPE x [<!ENTITY a "b">]><OME>&a;</OME>', UnsupportedFormatError),
        ("<OME><Image></OME>", CorruptSliceError),
        (ome_xml('SizeZ="many" SizeC="1" SizeT="1"'), CorruptSliceError),
        (ome_xml('SizeZ="99999999" SizeC="1" SizeT="1"'), LimitExceededError),
        (ome_xml('SizeZ="1" SizeC="1" SizeT="1" DimensionOrder="ABC"'), UnsupportedFormatError),
    ],
)
def test_bad_xml(tmp_path, open_path, planes, xml, error):
    """Entities, broken XML and absurd extents are refused."""
    path = tmp_path / "bad.ome.tif"
    write_pages(path, planes[:1], xml)

    with pytest.raises(error):
        open_path(path)


def test_plane_count_beyond_the_image_is_cut():
    """A block that counts more planes than the image has fills the image and stops."""
    body = '<TiffData IFD="0" PlaneCount="9"/>'

    image = parse_ome(ome_xml('SizeZ="2" SizeC="1" SizeT="1"', body), "a.ome.tif", (1, 1))

    assert (OmePlane(0, 0), OmePlane(0, 1)) == image.planes
