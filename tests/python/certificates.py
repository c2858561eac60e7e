"""Certificates for a gateway's ports, and clients that trust them."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import grpc

from program import PATIENCE


def openssl(command: str, *more: str) -> None:
    subprocess.run(["openssl", *command.split(), *more], check=True, capture_output=True, timeout=PATIENCE)


NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


@dataclass(frozen=True)
class Certificate:
    """One that is its own authority, for loopback."""

    cert: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        made = cls(folder / "cert.pem", folder / "key.pem")
        what = "-days 1 -subj /CN=gateway -addext subjectAltName=IP:127.0.0.1"
        openssl(f"req -x509 {NEW_KEY} {what}", "-keyout", str(made.key), "-out", str(made.cert))
        return made

    def flags(self) -> tuple[str, ...]:
        """The settings of a gateway that shows it to callers and to Kora."""
        return tuple(
            part
            for port in ("", "webhook-")
            for part in (f"--{port}tls-cert", str(self.cert), f"--{port}tls-key", str(self.key))
        )

    def context(self) -> ssl.SSLContext:
        """For clients that trust nothing else."""
        return ssl.create_default_context(cafile=self.cert)

    def connect(self, address: str) -> grpc.Channel:
        """A caller's connection over TLS."""
        credentials = grpc.ssl_channel_credentials(self.cert.read_bytes())
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(address, credentials, options=options)


@dataclass(frozen=True)
class Authority:
    """One that issues the certificates of gateways and of callers."""

    cert: Path
    key: Path

    @classmethod
    def make(cls, folder: Path, name: str) -> Authority:
        made = cls(folder / f"{name}.crt", folder / f"{name}.key")
        what = f"-days 1 -subj /CN={name}"
        openssl(f"req -x509 {NEW_KEY} {what}", "-keyout", str(made.key), "-out", str(made.cert))
        return made

    def issue(self, san: str) -> Certificate:
        """A certificate with this subject alternative name, such as IP:127.0.0.1."""
        name = f"{self.cert.stem}-{san.replace('/', '-')}"
        cert, key, request, extensions = (self.cert.with_name(f"{name}.{kind}") for kind in ("crt", "key", "csr", "ext"))
        openssl(f"req {NEW_KEY} -subj /CN=leaf", "-keyout", str(key), "-out", str(request))
        extensions.write_text(f"subjectAltName={san}\nbasicConstraints=critical,CA:FALSE\n")
        authority = ("-CA", str(self.cert), "-CAkey", str(self.key), "-extfile", str(extensions))
        openssl("x509 -req -days 1", "-in", str(request), "-out", str(cert), *authority)
        return Certificate(cert, key)
