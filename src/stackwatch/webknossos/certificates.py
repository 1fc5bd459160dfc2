"""Whose certificates are believed."""

import ssl
from pathlib import Path

from stackwatch.errors import DeliveryRefusedError
from stackwatch.model.acquisition import show_path


def trusted(ca_file: str) -> ssl.SSLContext:
    """Return what checks certificates: the system's authorities, and those of `ca_file`.

    Raises
    ------
    DeliveryRefusedError
        The file cannot be read; a human is needed.
    """
    context = ssl.create_default_context()
    if not _system_has_authorities():
        import certifi  # comes with httpx; for machines without a collection of their own

        context.load_verify_locations(certifi.where())
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise DeliveryRefusedError(
                f"“{show_path(ca_file)}” cannot be read as certificates ({error}). Give a file "
                "with certificates in PEM form.",
                hint="Give a file with certificates in PEM form as `ca_file`.",
                path=show_path(ca_file),
            ) from error
    return context


def _system_has_authorities() -> bool:
    places = ssl.get_default_verify_paths()
    if places.cafile:
        return True
    return bool(places.capath) and any(Path(places.capath).iterdir())


def trusting_nobody() -> ssl.SSLContext:
    """Return what takes no certificate at all, for addresses that have none."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def is_certificate_trouble(error: BaseException) -> bool:
    """Tell whether a certificate that is not believed is at the bottom of it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
