"""Open datasets with the webknossos library and compare them. Run by the peer's own Python.

`python peer_compare.py OURS PEER SOURCES` prints one JSON document: what was compared, and every
difference found. OURS is opened through the library and, array by array, through tensorstore; PEER
is the library's own conversion of the same stack, or `-` for none; SOURCES is a folder with
`<layer>.npy`, the voxels of mag 1 in the order c, x, y, z.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorstore
import webknossos

differences: list[str] = []
compared: list[str] = []


def expect(what, ours, other):
    """Note a difference between two values, or two arrays."""
    compared.append(what)
    if isinstance(ours, np.ndarray):
        if ours.shape != other.shape or ours.dtype != other.dtype:
            differences.append(
                f"{what}: {ours.shape} {ours.dtype} against {other.shape} {other.dtype}"
            )
        elif not np.array_equal(ours, other):
            places = np.argwhere(ours != other)
            first = tuple(int(n) for n in places[0])
            differences.append(
                f"{what}: {len(places)} voxels differ, first at c,x,y,z {first}: "
                f"{ours[first]} against {other[first]}"
            )
    elif ours != other:
        differences.append(f"{what}: {ours} against {other}")


def read_with_tensorstore(folder):
    """Return a whole array as it lies in the store."""
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder)}}
    return np.asarray(tensorstore.open(spec).result().read().result())


def compare_layers(name, ours, other):
    """Compare everything the library tells of two layers, and every voxel of every mag."""
    for fact in ("category", "dtype_per_channel", "num_channels", "bounding_box"):
        expect(f"{name} {fact}", str(getattr(ours, fact)), str(getattr(other, fact)))
    expect(
        f"{name} mags",
        [mag.to_layer_name() for mag in sorted(ours.mags)],
        [mag.to_layer_name() for mag in sorted(other.mags)],
    )
    if str(ours.category) == "segmentation":
        largest = (ours.largest_segment_id, other.largest_segment_id)
        expect(f"{name} largest segment id", *largest)
    for mag in sorted(set(ours.mags) & set(other.mags)):
        label = f"{name} mag {mag.to_layer_name()}"
        expect(label, ours.get_mag(mag).read(), other.get_mag(mag).read())


def main():
    """Compare what the command line names."""
    place, peer_place, sources = sys.argv[1:]
    ours = webknossos.Dataset.open(place)
    peer = None if peer_place == "-" else webknossos.Dataset.open(peer_place)
    wanted = sorted(path.stem for path in Path(sources).glob("*.npy"))
    expect("layer names", sorted(ours.layers), wanted)
    for name in wanted:
        layer = ours.get_layer(name)
        expect(
            f"{name} mag 1 and source", layer.get_mag(1).read(), np.load(f"{sources}/{name}.npy")
        )
        for mag in layer.mags:
            folder = Path(place, name, mag.to_layer_name())
            if (folder / "header.wkw").exists():
                continue  # nothing beside the library reads WKW in this environment
            label = f"{name} mag {mag.to_layer_name()} through tensorstore"
            expect(label, read_with_tensorstore(folder), layer.get_mag(mag).read())
        if peer is not None:
            compare_layers(name, layer, peer.get_layer(name))
    if peer is not None:
        expect("voxel size", list(ours.voxel_size), list(peer.voxel_size))
    sys.stdout.write(json.dumps({"compared": compared, "differences": differences}) + "\n")


main()
