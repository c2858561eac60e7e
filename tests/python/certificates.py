"""Certificates for a gateway's ports, and clients that trust them."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import grpc

from program import PATIENCE


@dataclass(frozen=True)
class Certificate:
    """One that is its own authority, for loopback."""

    cert: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Certificate:
        made = cls(folder / "cert.pem", folder / "key.pem")
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=gateway"
            " -addext subjectAltName=IP:127.0.0.1"
        )
        files = ("-keyout", str(made.key), "-out", str(made.cert))
        subprocess.run([*command.split(), *files], check=True, capture_output=True, timeout=PATIENCE)
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
