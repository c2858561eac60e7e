"""An internal authority, made with openssl: it issues the gateway's certificate and its callers'."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import grpc

from program import PATIENCE

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """One authority, whose files are in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.root = Issued(folder / "ca.crt", folder / "ca.key")
        files = ("-keyout", str(self.root.key), "-out", str(self.root.certificate))
        openssl("req", "-x509", *NEW_KEY, "-days", "1", "-subj", "/CN=authority", *files)

    def issue(self, name: str, *subject_alternative_names: str) -> Issued:
        """A certificate with these names, each written as openssl has it, such as `URI:spiffe://a/b`."""
        issued = Issued(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request, extensions = (self._folder / f"{name}.{kind}" for kind in ("csr", "ext"))
        extensions.write_text(f"subjectAltName={','.join(subject_alternative_names)}\nbasicConstraints=CA:FALSE\n")
        openssl("req", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", str(issued.key), "-out", str(request))
        by = ("-CA", str(self.root.certificate), "-CAkey", str(self.root.key))
        made = ("-days", "1", "-extfile", str(extensions), "-out", str(issued.certificate))
        openssl("x509", "-req", "-in", str(request), *by, *made)
        return issued

    def connect(self, address: str, shown: Issued | None = None) -> grpc.Channel:
        """A connection of a caller that trusts this authority alone, and shows a certificate or none."""
        own = (shown.key.read_bytes(), shown.certificate.read_bytes()) if shown else (None, None)
        credentials = grpc.ssl_channel_credentials(self.root.certificate.read_bytes(), *own)
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(address, credentials, options=options)


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=PATIENCE)
