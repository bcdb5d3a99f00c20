"""An issuer of OpenID Connect with TLS on this machine, for containers."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

import settings

HOST = "login.school.test"
_KEY = RSAKey.generate_key(2048, {"kid": "school", "use": "sig"})


class Issuer(ThreadingHTTPServer):
    """Serves the key set; ``certificate`` is the file of its own certificate."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("0.0.0.0", 0), _Handler)  # noqa: S104 containers reach it by a bridge
        self.certificate = directory / "issuer.pem"
        key = directory / "issuer.key"
        _create_certificate(self.certificate, key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.server_port}/"

    def token(self, email: str, *permissions: str) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {"iss": self.url, "aud": "https://api.school.test", "sub": f"school|{email}"}
        claims |= {"iat": now, "exp": now + 1800, "permissions": list(permissions)}
        claims |= {f"{settings.CLAIMS_NAMESPACE}email": email, f"{settings.CLAIMS_NAMESPACE}email_verified": True}
        return jwt.encode({"alg": "RS256", "kid": "school"}, claims, _KEY)


class _Handler(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        keys = KeySet([_KEY]).as_dict(private=False)
        found = {"/keys": keys, "/.well-known/openid-configuration": {"jwks_uri": f"{self.server.url}keys"}}
        self.send_response(200 if self.path in found else 404)
        self.end_headers()
        self.wfile.write(json.dumps(found.get(self.path)).encode())

    def log_message(self, *_: object) -> None:
        pass


def _create_certificate(path: Path, key_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.chmod(0o644)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_path.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))


@contextmanager
def running_issuer(directory: Path) -> Iterator[Issuer]:
    with Issuer(directory) as issuer:
        thread = threading.Thread(target=issuer.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield issuer
        finally:
            issuer.shutdown()
            thread.join()
