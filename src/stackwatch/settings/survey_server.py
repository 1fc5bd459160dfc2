"""What the settings say about the server that datasets are delivered to, as far as it shows here.

Nothing is asked of the server: `stackwatch webknossos check` does that.
"""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from stackwatch.errors import DeliveryUnauthorizedError
from stackwatch.model.acquisition import show_path
from stackwatch.settings.model import FolderSettings, Settings

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def describe_delivery_of(folder: FolderSettings, url: str | None) -> str | None:
    """Return where a folder's datasets are delivered to, None for nowhere."""
    if folder.delivery == "none" or url is None:
        return None
    how = {
        "upload": "uploaded to",
        "register": "registered, without copying, at",
        "paths": f"put into the storage ({folder.transfer}) of",
    }[folder.delivery]
    place = f", folder “{folder.remote_folder}”" if folder.remote_folder else ""
    return f"datasets are {how} {url}{place}"


def server_warnings(settings: Settings) -> Iterator[str]:
    """Yield what a person should look at. Reads the token's file, and may hang if that does."""
    server = settings.webknossos
    if server.url is None:
        return
    parts = urlsplit(server.url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        yield (
            f"webknossos.url “{server.url}” is not https: whoever listens on the way reads the "
            "token"
        )
    for folder in settings.folder:
        if folder.delivery == "register" and not _is_mapped(folder, settings):
            yield (
                f'folder “{folder.name}” has delivery = "register", and no entry of '
                f"webknossos.path_map leads to its target “{show_path(folder.target)}”"
            )
    if any(folder.delivery != "none" for folder in settings.folder):
        yield from _token_warnings(str(server.token_file or ""))


def _token_warnings(token_file: str) -> Iterator[str]:
    from stackwatch.webknossos.token import find_token  # late: only who delivers pays

    try:
        find_token(token_file)
    except DeliveryUnauthorizedError as error:
        yield f"webknossos: {error.message}"


def _is_mapped(folder: FolderSettings, settings: Settings) -> bool:
    if folder.bucket is not None:
        return True  # its address is what the server is told
    return any(folder.target.is_relative_to(local) for local in settings.webknossos.path_map)
