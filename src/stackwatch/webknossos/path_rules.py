"""Where the server finds what lies here, and the other way round: by the longest rule that fits."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from stackwatch.errors import DeliveryRefusedError
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import PathRule

_FILE = "file://"


def remote_of(rules: Iterable[PathRule], path: Path) -> str:
    """Return the server's address of something that lies here.

    Raises
    ------
    DeliveryRefusedError
        No rule fits; a human has to write one.

    Examples
    --------
    >>> remote_of([PathRule("/data/wk", "file:///srv/wk")], Path("/data/wk/em/run 1"))
    'file:///srv/wk/em/run%201'
    """
    rules = tuple(rules)
    fitting = [rule for rule in rules if path.is_relative_to(rule.local)]
    if not fitting:
        named = ", ".join(f"“{rule.local}”" for rule in rules) or "nothing"
        hint = (
            f"Add a rule to `path_map` under `[webknossos]`, such as "
            f'"{show_path(path.parent)}" = "file:///srv/wk".'
        )
        raise DeliveryRefusedError(
            f"Nobody says where the server finds “{show_path(path)}”: `path_map` names {named}. "
            f"{hint}",
            hint=hint,
            path=show_path(path),
        )
    rule = max(fitting, key=lambda rule: len(PurePosixPath(rule.local).parts))
    below = path.relative_to(rule.local).as_posix()
    base = rule.remote.rstrip("/")
    return base if below == "." else f"{base}/{quote(below)}"


def local_of(rules: Iterable[PathRule], place: str) -> Path:
    """Return where a path of the server's own file system lies here; the same where no rule fits.

    Parameters
    ----------
    rules : iterable of PathRule
        Those with `file://` count.
    place : str
        Absolute, with `file://` or without.

    Raises
    ------
    DeliveryRefusedError
        It is in no file system.

    Examples
    --------
    >>> local_of([PathRule("/mnt/wk", "file:///srv/wk")], "/srv/wk/lab/color/1").as_posix()
    '/mnt/wk/lab/color/1'
    """
    path = PurePosixPath(plain_path(place))
    if not path.is_absolute() or ".." in path.parts:
        hint = 'Use `delivery = "upload"`, or let the server keep data in a file system.'
        raise DeliveryRefusedError(
            f"The server wants data at “{place}”, which is no place in a file system. {hint}",
            hint=hint,
            place=place,
        )
    places = [(rule, plain_path(rule.remote)) for rule in rules if rule.remote.startswith(_FILE)]
    fitting = [(rule, remote) for rule, remote in places if path.is_relative_to(remote)]
    if not fitting:
        return Path(path)
    rule, remote = max(fitting, key=lambda pair: len(PurePosixPath(pair[1]).parts))
    return Path(rule.local) / path.relative_to(remote)


def plain_path(place: str) -> str:
    """Return a `file://` address as a path; anything else stays as it is."""
    return unquote(place.removeprefix(_FILE)) if place.startswith(_FILE) else place
