"""Certificates for upstreams on this machine, and a cluster that trusts their authority."""

from __future__ import annotations

from pathlib import Path

import trustme

TRUSTING = """
version: v0.4.0
listeners:
  - {type: model, name: egress, address: 127.0.0.1, port: {port}}
model_providers:
  - {model: openai/*, base_url: $DEMO_URL, access_key: k}
overrides:
  upstream_tls_ca_path: $CA_PATH
"""


class Authority:
    """A certificate authority of our own, and a server certificate of it, as files."""

    def __init__(self, folder: Path, *names: str) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert(*names)
        self.ca = folder / "ca.pem"
        self.chain = folder / "chain.pem"
        self.key = folder / "key.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(self.key)

    @property
    def arguments(self) -> tuple[str, ...]:
        """What makes the demo provider serve over TLS with this certificate."""
        return "--tls-cert", str(self.chain), "--tls-key", str(self.key)
