"""Laws of the whole floor: order never matters, and every slice has one place, or a reason."""

from hypothesis import given
from hypothesis import strategies as st

from stackwatch.errors import AcquisitionError, LayoutError, ReadError, StackwatchError
from stackwatch.layout.classify import classify
from stackwatch.layout.drafts import Verdict
from stackwatch.layout.ignore import compile_ignore, is_junk
from stackwatch.layout.voxel_size import StatedSize, resolve_voxel_size
from stackwatch.model.acquisition import Listing
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.options import LayoutOptions, VoxelSizeOptions
from stackwatch.model.plan import BLACK
from stackwatch.testing.fakes import FakeProbe, image_info, listing_of

REFUSALS = (LayoutError, ReadError, AcquisitionError)

FOLDERS = st.sampled_from(["", "color/", "labels/", "color/deep/", "t1/", "画像/"])
STEMS = st.sampled_from(["img_", "z", "c", "t", "a_z1_c", "preview", "x1_y", "part", "-"])
NUMBERS = st.one_of(st.just(""), st.integers(0, 12).map(str), st.just("01"), st.just("-2.5"))
SUFFIXES = st.sampled_from([".tif", ".ome.tif", ".png", ".txt", ".tif.part", ".zvi"])
PATHS = st.builds("{}{}{}{}".format, FOLDERS, STEMS, NUMBERS, SUFFIXES)
INFOS = st.sampled_from(
    [image_info(), image_info(size_z=3), image_info(size_c=2), image_info(size_t=2, size_z=2)]
)


def outcome(
    listing: Listing, probe: FakeProbe, options: LayoutOptions
) -> Verdict | StackwatchError:
    """Return the verdict, or the refusal."""
    try:
        return classify(listing, probe, options)
    except REFUSALS as error:
        return error


def comparable(found: Verdict | StackwatchError) -> object:
    """Return the verdict, or what a refusal says."""
    return found if isinstance(found, Verdict) else found.as_record()


@given(st.lists(PATHS, unique=True, max_size=12), INFOS, st.sampled_from(["park", "black"]))
def test_a_verdict_or_a_refusal_with_a_hint(paths, info, policy):
    """Whatever lies in a folder: no crash, and a refusal always says what to do."""
    found = outcome(listing_of(paths), FakeProbe(info), LayoutOptions(missing_slices=policy))

    assert isinstance(found, Verdict) or found.hint


@given(st.lists(PATHS, unique=True, max_size=12), INFOS)
def test_every_image_has_a_place_or_the_acquisition_is_refused(paths, info):
    """No image is passed over without a word, and no plane is used twice."""
    found = outcome(listing_of(paths), FakeProbe(info), LayoutOptions())
    if isinstance(found, StackwatchError):
        return
    images = {path for path in paths if path.endswith((".tif", ".png"))}
    used: list[tuple[str, int, int, int]] = []
    for layer in found.layers:
        stack = layer.stack
        used += [
            (stack.files[plane.file], plane.t, plane.c, plane.z)
            for row in stack.planes_tz
            for plane in row
            if plane.file != BLACK
        ]

    assert images == {path for path, *_ in used}
    assert len(used) == len(set(used)) == len(images) * info.size_t * info.size_c * info.size_z


@given(st.lists(PATHS, unique=True, max_size=10), INFOS, st.randoms())
def test_the_order_of_the_directory_does_not_matter(paths, info, random):
    """Two machines list one folder in two orders."""
    listing = listing_of(paths)
    entries = list(listing.entries)
    random.shuffle(entries)
    shuffled = Listing(listing.root, tuple(entries))

    one, other = (
        outcome(listed, FakeProbe(info), LayoutOptions()) for listed in (listing, shuffled)
    )

    assert comparable(one) == comparable(other)


@given(
    st.lists(st.sampled_from("ztc"), unique=True, min_size=1),
    st.lists(st.integers(1, 4), min_size=3, max_size=3),
    st.randoms(),
)
def test_named_axes_give_every_file_its_place(axes, sizes, random):
    """Any order of c, t and z in the names, any extents: each file where its name says."""
    extent = dict(zip("ztc", sizes, strict=True))
    counts = {axis: (extent[axis] + 1 if axis in axes else 1) for axis in "ztc"}
    places = [
        {"z": z, "t": t, "c": c}
        for z in range(counts["z"])
        for t in range(counts["t"])
        for c in range(counts["c"])
    ]
    names = {"_".join(f"{a}{place[a]}" for a in axes) + ".tif": place for place in places}
    paths = list(names)
    random.shuffle(paths)
    verdict = classify(listing_of(paths), FakeProbe(), LayoutOptions())

    assert counts["c"] == len(verdict.layers)
    for c, layer in enumerate(verdict.layers):
        rows = layer.stack.planes_tz
        assert (counts["t"], counts["z"]) == (len(rows), len(rows[0]))
        for t, row in enumerate(rows):
            for z, plane in enumerate(row):
                assert {"z": z, "t": t, "c": c} == names[layer.stack.files[plane.file]]


@given(st.sets(st.integers(1, 40), min_size=3), st.integers(1, 20))
def test_black_padding_keeps_every_slice_at_its_number(numbers, stride):
    """Slice n lies (n - first) / stride slices below the first, whatever is missing between."""
    paths = {f"img_{n * stride}.tif": n for n in numbers}
    found = outcome(listing_of(paths), FakeProbe(), LayoutOptions(missing_slices="black"))
    if isinstance(found, StackwatchError):
        return
    stack = found.layers[0].stack
    at = {stack.files[p.file]: z for z, p in enumerate(stack.planes_tz[0]) if p.file != BLACK}
    unit = min((b - a for a, b in zip(sorted(numbers), sorted(numbers)[1:], strict=False)))

    assert set(paths) == set(at)
    assert all((n - min(numbers)) == at[path] * unit for path, n in paths.items())


SIZES = st.one_of(st.none(), st.floats(0.5, 500))
PARTIAL = st.builds(PartialVoxelSize, SIZES, SIZES, SIZES)


@given(
    st.lists(PARTIAL, max_size=4),
    PARTIAL,
    st.booleans(),
    st.sampled_from(["files-first", "settings"]),
    st.integers(1, 3),
)
def test_a_voxel_size_is_never_invented(found, given_nm, is_flag, prefer, depth):
    """Each axis is a number that somebody stated for it, or x for the z of a single slice."""
    stated = [StatedSize(f"{i}.tif", size, "tags") for i, size in enumerate(found)]
    try:
        size, sources, _ = resolve_voxel_size(
            stated, VoxelSizeOptions(given_nm, prefer, is_flag), depth
        )
    except ReadError:
        return
    for axis, source in zip("xyz", sources, strict=True):
        value = getattr(size, axis)
        known = [getattr(one, axis) for one in (*found, given_nm)]
        if source.startswith("same as x"):
            assert (depth, axis, size.x) == (1, "z", value)
        else:
            assert value in known


@given(st.text(min_size=1, max_size=12).filter(lambda name: "/" not in name))
def test_junk_is_junk_at_any_depth(name):
    """A matcher without patterns refuses a path exactly if one of its parts is junk."""
    matcher = compile_ignore()

    assert is_junk(name) == bool(matcher(name)) == bool(matcher(f"run/{name}/a.tif"))
