"""Whose TIFF it is, and so which page is which plane: Micro-Manager, OME, ImageJ, tifffile, nobody.

The strongest word for the places of planes wins; a voxel size may be completed by weaker ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import Channel
from stackwatch.readers import axes, scale
from stackwatch.readers.ifd import Ifd
from stackwatch.readers.mmstack import MmStack, read_mmstack
from stackwatch.readers.ome import OmeImage, is_ome, parse_ome
from stackwatch.readers.pages import PageFormat
from stackwatch.readers.plane_map import PageRow, PlaneMap
from stackwatch.readers.positional import PositionalFile
from stackwatch.readers.vendor_tags import vendor_voxel_size


@dataclass(frozen=True, slots=True)
class Description:
    """What the descriptions in a TIFF say of one image in it.

    Attributes
    ----------
    planes : PlaneMap
    main : int
        The first page of the image: what is said once for all of it stands there.
    voxel_size_nm : PartialVoxelSize
    voxel_size_source : str
    channels : tuple of Channel
    scenes, scene, set_files, set_uuid, absent_tcz
        As in `ImageInfo`.
    """

    planes: PlaneMap
    main: int = 0
    voxel_size_nm: PartialVoxelSize = scale.NOWHERE
    voxel_size_source: str = ""
    channels: tuple[Channel, ...] = ()
    scenes: tuple[str, ...] = ()
    scene: int = 0
    set_files: tuple[str, ...] = ()
    set_uuid: str = ""
    absent_tcz: tuple[tuple[int, int, int], ...] = ()


def describe_pages(
    file: PositionalFile, pages: Sequence[Ifd], formats: Sequence[PageFormat], scene: int
) -> Description:
    """Read every description a TIFF has and decide on one image.

    Parameters
    ----------
    file : PositionalFile
    pages, formats : sequence of Ifd, sequence of PageFormat
        One for each page.
    scene : int

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, LayoutError, AcquisitionError
        As the planners of `readers.axes` and the parsers say; the caller passes them on.
    """
    row = PageRow(file.name, tuple(formats), tuple(page.int_or(254, 0) for page in pages))
    stack = read_mmstack(file, pages, scene)
    text = pages[0].text(270)
    if stack is not None:
        found = _of_micro_manager(row, stack, scene)
    elif is_ome(text):
        found = _of_ome(row, text, scene)
    else:
        found = _of_others(row, pages, text, _room(file, pages[0], formats[0]))
    main = pages[found.main]
    size, source = scale.complete(
        found.voxel_size_nm, found.voxel_size_source, *vendor_voxel_size(main)
    )
    from_tags = PartialVoxelSize(
        *(scale.tag_edge_nm(main.ratio(code), main.int_or(296, 2)) for code in (282, 283))
    )
    size, source = scale.complete(size, source, from_tags, scale.RESOLUTION_TAGS)
    return replace(found, voxel_size_nm=size, voxel_size_source=source)


def _of_micro_manager(row: PageRow, stack: MmStack, scene: int) -> Description:
    planes = axes.plan_placed_planes(row, stack.size_tcz, stack.pages, stack.other_pages)
    every = planes.size_t * planes.size_c * planes.size_z
    return Description(
        planes,
        main=min(stack.pages.values()),
        voxel_size_nm=stack.voxel_size_nm,
        voxel_size_source="Micro-Manager summary",
        channels=stack.channels,
        scenes=stack.positions,
        scene=scene,
        absent_tcz=planes.absent_tcz if len(stack.pages) < every else (),
    )


def _of_ome(row: PageRow, text: str, scene: int) -> Description:
    samples = [form.samples for form in row.formats]
    reduced = frozenset(page for page, kind in enumerate(row.subfile_types) if kind & 1)
    image: OmeImage = parse_ome(text, row.name, samples, scene, reduced)
    return Description(
        axes.plan_ome_planes(row, image),
        main=min(image.pages_here, default=0),
        voxel_size_nm=image.voxel_size_nm,
        voxel_size_source="OME-XML PhysicalSize",
        channels=image.channels,
        scenes=image.scenes,
        scene=image.scene,
        set_files=image.files if len(image.files) > 1 else (),
        set_uuid=image.set_uuid,
    )


def _of_others(row: PageRow, pages: Sequence[Ifd], text: str, room: int) -> Description:
    words = axes.parse_imagej(text)
    if words:
        size = scale.imagej_voxel_size(words, pages[0].ratio(282), pages[0].ratio(283))
        planes = axes.plan_imagej_planes(row, words, room)
        return Description(planes, voxel_size_nm=size, voxel_size_source="ImageJ unit and spacing")
    if axes.parse_shape(text):
        shapes = [parsed for page in pages if (parsed := axes.parse_shape(page.text(270)))]
        return Description(axes.plan_shaped_planes(row, shapes, room))
    return Description(axes.plan_page_planes(row))


def _room(file: PositionalFile, page: Ifd, form: PageFormat) -> int:
    """Return how many raw planes fit behind the first page's pixel offset."""
    offsets = page.ints(273)
    if not offsets or not form.is_raw:
        return 0
    return (file.size - offsets[0]) // form.plane_bytes
