"""Around the stand-in for WEBKNOSSOS: a certificate nobody knows, and a front that sends away."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from stackwatch.testing.webknossos_http import LOOPBACK, Listener, Request, Response, Wire


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
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder.mkdir(parents=True, exist_ok=True)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        for name in ("A lab's own authority", LOOPBACK)
    ]
    now = datetime.now(UTC)
    authority_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())

    def certificate(name: x509.Name, of: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(of)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
        )

    authority = (
        certificate(names[0], authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(authority_id, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    shown = (
        certificate(names[1], key.public_key())
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.IPAddress(ipaddress.ip_address(LOOPBACK)),
                    x509.DNSName("localhost"),
                ]
            ),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    ca_file, shown_file = folder / "authority.pem", folder / "server.pem"
    ca_file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    shown_file.write_bytes(
        shown.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown_file)
    return Certificates(ca_file, context)


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
