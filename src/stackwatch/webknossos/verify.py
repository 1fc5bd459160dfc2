"""Is what the server shows what lies here? Its layers and mags, and voxels read back."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stackwatch.errors import DeliveryUnavailableError
from stackwatch.webknossos.claims import box_of
from stackwatch.webknossos.connection import Connection, quoted
from stackwatch.webknossos.local import LocalDataset, LocalLayer
from stackwatch.webknossos.remote import RemoteDataset
from stackwatch.webknossos.transport import Request, server_of
from stackwatch.webknossos.verdicts import verdict_of

_MOST_FAILURES: Final = 3
_BROKEN: Final = frozenset({400, 404, 500})
"""What a datastore answers for data that it cannot read; once may be chance."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A box of voxels as it lies here.

    Attributes
    ----------
    layer : str
    mag : (int, int, int)
    top_left : (int, int, int)
        x, y, z in mag-1 voxels.
    size : (int, int, int)
        In voxels of the mag.
    expected : bytes
        Channels first, then x, y, z, the first fastest; little-endian.
    """

    layer: str
    mag: tuple[int, int, int]
    top_left: tuple[int, int, int]
    size: tuple[int, int, int]
    expected: bytes

    def __str__(self) -> str:
        """Return which one it is, for people."""
        at = ", ".join(map(str, self.top_left))
        return f"layer “{self.layer}”, mag {'-'.join(map(str, self.mag))}, at {at}"


def iter_differences(remote: RemoteDataset, local: LocalDataset) -> Iterable[str]:
    """Yield in what the server's dataset is not ours: layers, types, boxes, mags. Pure."""
    if not remote.is_active:
        yield f"it cannot be opened ({remote.status or 'not active'})"
        return
    layers = remote.source.get("dataLayers")
    found = {
        str(layer.get("name")): layer
        for layer in (layers if isinstance(layers, list) else [])
        if isinstance(layer, dict)
    }
    for layer in local.layers:
        if layer.name not in found:
            yield f"the layer “{layer.name}” is missing"
        else:
            yield from _layer_differences(found[layer.name], layer)
    for name in sorted(set(found) - {layer.name for layer in local.layers}):
        yield f"there is a layer “{name}” that is none of ours"


def _layer_differences(found: Mapping[str, Any], layer: LocalLayer) -> Iterable[str]:
    told = f"the layer “{layer.name}”"
    if found.get("elementClass") != layer.element_class:
        yield f"{told} has {found.get('elementClass')} values instead of {layer.element_class}"
    if found.get("category") != layer.category:
        yield f"{told} is a {found.get('category')} layer instead of a {layer.category} layer"
    if box_of(dict(found)) != (layer.top_left, layer.size):
        yield f"{told} has another bounding box"
    entries = found.get("mags")
    mags = [
        entry.get("mag")
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict)
    ]
    for mag in layer.mags:
        if list(mag.mag) not in mags:
            yield f"{told} lacks mag {'-'.join(map(str, mag.mag))}"


def first_mismatch(
    connection: Connection,
    dataset_id: str,
    probes: Iterable[Probe],
    tell: Callable[[int], None],
) -> Probe | None:
    """Read boxes back, and return the first that is not what lies here; None if all are equal.

    Parameters
    ----------
    connection : Connection
    dataset_id : str
    probes : iterable of Probe
    tell : callable
        Told after each one how many were read back: a slow server is none that hangs.

    Raises
    ------
    DeliveryUnavailableError
        The server does not answer.
    """
    for count, probe in enumerate(probes, start=1):
        connection.waiting.check()
        if read_box(connection, dataset_id, probe) != probe.expected:
            return probe
        tell(count)
    return None


def read_box(connection: Connection, dataset_id: str, probe: Probe) -> bytes:
    """Return a box's voxels as the datastore gives them; empty where it cannot read them.

    Raises
    ------
    DeliveryError
        It does not answer, or does not take the token.
    """
    path = f"datasets/{dataset_id}/layers/{quoted(probe.layer)}/data"
    corner = dict(zip("xyz", map(str, probe.top_left), strict=True))
    edges = dict(zip(("width", "height", "depth"), map(str, probe.size), strict=True))
    query = {"mag": "-".join(map(str, probe.mag)), **corner, **edges}
    request = Request("GET", connection.data_url(path), query)
    failures = 0

    def attempt() -> bytes:
        nonlocal failures
        answer = connection.ask(request)
        if answer.is_success and len(answer.body) == len(probe.expected):
            return answer.body
        error = verdict_of(answer.complaint, "give voxels back", server_of(request.url))
        if not answer.is_success and answer.status not in _BROKEN:
            raise error
        failures += 1
        if failures >= _MOST_FAILURES:
            return b""
        raise DeliveryUnavailableError(error.message, hint=error.hint)

    return connection.waiting.repeat(attempt)
