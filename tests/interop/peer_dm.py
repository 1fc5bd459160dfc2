"""Run by the peer's Python: what rosettasciio finds in DM files; a `.npy` and a line each.

Usage: peer_dm.py FOLDER FILE…
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from rsciio.digitalmicrograph import file_reader

warnings.simplefilter("ignore")
folder, *files = sys.argv[1:]
for number, file in enumerate(files):
    images = file_reader(file)
    axes = []
    for image in images[:1]:
        data = np.asarray(image["data"])
        if data.dtype.names:
            data = np.stack([data[name] for name in data.dtype.names], axis=-1)
        np.save(Path(folder, f"{number}.npy"), data)
        axes = [[axis["name"], axis["scale"], str(axis["units"])] for axis in image["axes"]]
    line = {"file": file, "images": len(images), "axes": axes}
    sys.stdout.write(json.dumps(line) + "\n")
