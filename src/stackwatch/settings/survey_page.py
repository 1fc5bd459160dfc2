"""What the settings say about the status page, as far as it shows here."""

import ipaddress
from collections.abc import Iterator

from stackwatch.errors import UsageError
from stackwatch.model.acquisition import show_path
from stackwatch.settings.outside import WebSettings


def page_warnings(web: WebSettings) -> Iterator[str]:
    """Yield what a person should look at. Reads files, and may hang if these do."""
    if not web.listen:
        return
    if not _is_loopback(web.listen):
        word = ", and so is the word that is typed in to act" if web.actions else ""
        yield (
            f"web.listen “{web.listen}” shows the page to the network: without a login, and "
            f"unencrypted{word}. docs/status-page.md tells of safer ways"
        )
    if web.actions and web.token_file is not None:
        from stackwatch.web.sessions import read_word  # late: only who acts pays

        try:
            read_word(web.token_file)
            if web.token_file.stat().st_mode & 0o006:
                yield f"web.token_file “{show_path(web.token_file)}” is open to every user"
        except UsageError as error:
            yield f"web: {error.message}"
    if web.viewer is not None and not (web.viewer / "index.html").is_file():
        yield (
            f"web.viewer “{show_path(web.viewer)}” holds no viewer: `make neuroglancer` builds one"
        )


def _is_loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
