"""What the viewer is told to show: layers, sizes, contrast, colours; and what it cannot show."""

import json
from urllib.parse import unquote

import pytest

from stackwatch.testing.page_worlds import fill_busy
from stackwatch.testing.pages import serve_page
from stackwatch.web.viewer import read_properties, viewer_address
from stackwatch.web.viewer_state import GREY_SHADER, PANEL, RGB_SHADER, build_viewer_state

DATA = "http://localhost:8087/data/7"


def layer(name="em", **values):
    """Return a layer as the properties tell of it."""
    return {
        "name": name, "category": "color", "dataFormat": "zarr3", "numChannels": 1,
        "boundingBox": {"topLeft": [0, 0, 0], "width": 300, "height": 200, "depth": 48},
        "defaultViewConfiguration": {"intensityRange": [10, 90], "color": [0, 128, 255]},
        **values,
    }  # fmt: skip


def properties(*layers, factor=(11, 11, 33), unit="nanometer"):
    """Return the properties of a dataset."""
    return {"scale": {"factor": list(factor), "unit": unit}, "dataLayers": list(layers)}


def state(*layers, **values):
    """Return the viewer's state."""
    found = build_viewer_state(DATA, properties(*layers, **values))
    assert found is not None
    return found


@pytest.mark.parametrize(("unit", "factor"), [("nanometer", 11), ("micrometer", 0.011)])
def test_voxels_have_their_size(unit, factor):
    """In metres, whatever the unit of the dataset; anisotropy stays."""
    dimensions = state(layer(), unit=unit, factor=(factor, factor, 3 * factor))["dimensions"]

    assert [1.1e-8, 1.1e-8, 3.3e-8] == [pytest.approx(dimensions[axis][0]) for axis in "xyz"]
    assert {"m"} == {dimensions[axis][1] for axis in "xyz"}


def test_all_of_it_is_in_view():
    """The middle of all layers is in the middle, and the longest edge fits a panel."""
    far = layer("far", boundingBox={"topLeft": [100, 0, 0], "width": 700, "height": 9, "depth": 9})
    found = state(layer(), far)

    assert [400, 100, 24] == found["position"]
    assert 800 / PANEL == pytest.approx(found["crossSectionScale"])


def test_a_grey_layer_has_its_contrast_and_colour():
    """The range and the colour of the dataset's own view; layers are added up."""
    (shown,) = state(layer())["layers"]

    assert ("image", "additive", GREY_SHADER) == (shown["type"], shown["blend"], shown["shader"])
    assert {"normalized": {"range": [10, 90]}, "color": "#0080ff"} == shown["shaderControls"]
    assert f"{DATA}/em/|zarr3:" == shown["source"]


def test_a_layer_without_a_view_has_no_controls():
    """What is not configured is left to the viewer."""
    (shown,) = state(layer(defaultViewConfiguration=None))["layers"]

    assert {} == shown["shaderControls"]


@pytest.mark.parametrize(
    ("extra", "axes"), [({}, "c^ x y z"), ({"additionalAxes": [{}]}, "t c^ x y z")]
)
def test_rgb_has_three_channels(extra, axes):
    """The channel axis is the shader's, in the order of the array's axes."""
    (shown,) = state(layer(numChannels=3, **extra))["layers"]

    assert RGB_SHADER == shown["shader"]
    assert axes.split() == list(shown["source"]["transform"]["outputDimensions"])


def test_segments_are_segments():
    """A segmentation is one, and its name may hold what an address may not."""
    (shown,) = state(layer("µ seg/1", category="segmentation"))["layers"]

    assert "segmentation" == shown["type"]
    assert f"{DATA}/%C2%B5%20seg%2F1/|zarr3:" == shown["source"]


def test_what_it_cannot_show():
    """WKW, and what is no dataset, have no address; of a mixture the Zarr layers are shown."""
    wkw = layer("old", dataFormat="wkw")
    origin = "http://localhost:8087"

    assert viewer_address(origin, 7, properties(wkw)) is None
    for broken in (
        {},
        {"dataLayers": 3},
        properties({"name": "x"}),
        properties(layer(), unit="ell"),
    ):
        assert viewer_address(origin, 7, broken) is None
    assert ["em"] == [one["name"] for one in state(layer(), wkw)["layers"]]


def test_the_address_holds_the_state():
    """After `#!` stands the state as JSON, and nothing that ends it early."""
    address = viewer_address("http://localhost:8087", 7, properties(layer("a#b%c")))
    assert address is not None
    path, _, text = address.partition("#!")

    assert "/viewer/" == path
    assert "#" not in text
    assert build_viewer_state(DATA, properties(layer("a#b%c"))) == json.loads(unquote(text))


def test_properties_that_cannot_be_read(tmp_path):
    """Missing, damaged, or a link to somewhere else: nothing is read."""
    assert {} == read_properties(tmp_path / "gone")
    path = tmp_path / "datasource-properties.json"
    path.write_text("{")
    assert {} == read_properties(tmp_path)
    path.write_text("[]")
    assert {} == read_properties(tmp_path)
    path.unlink()
    (tmp_path / "secret").write_text('{"a": 1}')
    path.symlink_to(tmp_path / "secret")
    assert {} == read_properties(tmp_path)


def test_only_workers_may_compile(tmp_path):
    """Code that is made while it runs is allowed in the viewer's workers, and on no page."""
    bundle = tmp_path / "bundle"
    (bundle / "workers").mkdir(parents=True)
    (bundle / "index.html").write_text("viewer")
    (bundle / "workers" / "one.js").write_text("work")
    with serve_page(tmp_path, fill_busy) as page:
        page.set_options(viewer=bundle)
        policies = {
            path: page.client.get(path).headers["content-security-policy"]
            for path in ("/", "/viewer/", "/viewer/index.html", "/viewer/workers/one.js")
        }

    assert ["/viewer/workers/one.js"] == [
        path for path, policy in policies.items() if "'unsafe-eval'" in policy
    ]
    assert all("default-src 'none'" in policy for policy in policies.values())


def test_behind_tls_and_from_a_link_the_viewer_is_shown(tmp_path):
    """A web server in front says that it speaks TLS; the bundle may be reached through a link."""
    bundle, link = tmp_path / "bundle-1", tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "index.html").write_text("viewer")
    link.symlink_to(bundle)
    dataset = tmp_path / "datasets" / "em1" / "cortex_031"
    dataset.mkdir(parents=True)
    (dataset / "datasource-properties.json").write_text(json.dumps(properties(layer())))
    with serve_page(tmp_path, fill_busy) as page:
        page.set_options(viewer=link)
        assert "viewer" == page.page("/viewer/")
        plain = page.page("/datasets/1/view")
        secure = page.client.get("/datasets/1/view", headers={"x-forwarded-proto": "https"}).text

    assert "%22http://127.0.0.1" in plain
    assert "%22https://127.0.0.1" in secure
