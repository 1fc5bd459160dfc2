"""Around the stand-in for WEBKNOSSOS: a certificate nobody knows, and a front that sends away."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from stackwatch.testing.webknossos_http import LOOPBACK, Listener, Request, Response, Wire

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.x509 import ExtensionType


@dataclass(frozen=True, slots=True)
class Certificates:
    """What a server shows, and what a client must trust for it.

    Attributes
    ----------
    ca_file : Path
        PEM of the authority: for the client.
    context : ssl.SSLContext
        For the server.
    """

    ca_file: Path
    context: ssl.SSLContext


def make_certificates(folder: Path) -> Certificates:
    """Make an authority that no system trusts, and a certificate of it for loopback."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir(parents=True, exist_ok=True)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = _certificate(
        authority_key,
        authority_key.public_key(),
        "A lab's own authority",
        (x509.BasicConstraints(ca=True, path_length=None), authority_id),
    )
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id)
    address = x509.IPAddress(ipaddress.ip_address(LOOPBACK))
    names = x509.SubjectAlternativeName([address, x509.DNSName("localhost")])
    shown = _certificate(authority_key, key.public_key(), LOOPBACK, (names, issuer_id))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    ca_file, shown_file = folder / "authority.pem", folder / "server.pem"
    ca_file.write_bytes(authority)
    shown_file.write_bytes(shown + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown_file)
    return Certificates(ca_file, context)


def _certificate(
    authority_key: "EllipticCurvePrivateKey",
    public_key: "EllipticCurvePublicKey",
    name: str,
    extensions: "tuple[ExtensionType, ...]",
) -> bytes:
    """Return a certificate of the authority as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    def named(common_name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("A lab's own authority"))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
    )
    for extension in extensions:
        is_critical = isinstance(extension, x509.BasicConstraints)
        builder = builder.add_extension(extension, critical=is_critical)
    signed = builder.sign(authority_key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


class RedirectingFront:
    """A host that answers every request with the same path at another one.

    Parameters
    ----------
    target : str
        URL, without a path.
    status : int
        301, 302, 307 or 308.

    Attributes
    ----------
    url : str
        Of the front.
    tokens : list of str
        What each request showed as its token; empty: none.
    """

    def __init__(self, target: str, status: int = 307) -> None:
        self._target = target
        self._status = status
        self.tokens: list[str] = []

    def __enter__(self) -> Self:
        self._listener = Listener("front", self._serve)
        self.url = self._listener.url
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()

    def _serve(self, request: Request, wire: Wire) -> Response:
        wire.discard_body()
        self.tokens.append(request.headers.get("x-auth-token", ""))
        query = "&".join(f"{key}={value}" for key, value in request.query.items())
        place = f"{self._target}{request.path}" + (f"?{query}" if query else "")
        return Response(self._status, headers=(("Location", place),))
