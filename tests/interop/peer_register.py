"""Register a dataset with the peer's own library: URL, token, address, name, folder."""

import sys

import webknossos

url, token, address, name, folder = sys.argv[1:6]
with webknossos.webknossos_context(url=url, token=token):
    webknossos.RemoteDataset.explore_and_add_remote(address, name, folder=folder)
