"""Open datasets with the webknossos library and tell what it finds. Run by the peer's own Python.

`python peer_samples.py FOLDER DATASET ...` prints one JSON document with a record for each dataset:
its voxel size, and of every layer type, channels, axes and extents. The voxels of mag 1 go to
`FOLDER/<number>-<layer>.npy`, axes as the library gives them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import webknossos


def main():
    """Open what the command line names."""
    folder, *datasets = sys.argv[1:]
    told = []
    for number, place in enumerate(datasets):
        dataset = webknossos.Dataset.open(place)
        layers = {}
        for name, layer in dataset.layers.items():
            voxels = layer.get_mag(1).read()
            np.save(Path(folder, f"{number}-{name}.npy"), voxels)
            layers[name] = {
                "dtype": str(layer.dtype_per_channel),
                "channels": layer.num_channels,
                "axes": list(layer.bounding_box.axes),
                "size": [int(size) for size in layer.bounding_box.size],
                "shape": list(voxels.shape),
                "mags": [mag.to_layer_name() for mag in layer.mags],
            }
        told.append({"voxel_size_nm": list(dataset.voxel_size), "layers": layers})
    sys.stdout.write(json.dumps(told) + "\n")


main()
