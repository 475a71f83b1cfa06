"""Checks of the files that a config file names: they have to be there, and of use, before anything is started."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from plano.config.certificates import CertificateError, load_authorities, load_certificates
from plano.config.migration import Finding, declared_listeners
from plano.config.plan import TlsPlan
from plano.config.problems import Path
from plano.config.schema.file import PlanoFile
from plano.config.schema.listeners import ListenerTls


def check_files(file: PlanoFile) -> Iterator[Finding]:
    """Every check that reads other files: certificates, keys and authorities."""
    for path, listener in declared_listeners(file):
        if listener.tls is not None:
            yield from _check_certificate((*path, "tls"), listener.tls)
    authorities = file.overrides.upstream_tls_ca_path if file.overrides else None
    if authorities is not None:
        try:
            load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "upstream_tls_ca_path", authorities)
        except CertificateError as error:
            yield Finding(("overrides", error.key), f"{error.path} {error.reason}")


def plan_tls(tls: ListenerTls) -> TlsPlan:
    """The section as the frontends get it."""
    return TlsPlan(tls.cert_file, tls.key_file, tls.client_ca_file, tls.min_version)


def _check_certificate(path: Path, tls: ListenerTls) -> Iterator[Finding]:
    try:
        ends_unix_s = load_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), plan_tls(tls))
    except CertificateError as error:
        yield Finding((*path, error.key), f"{error.path} {error.reason}")
        return
    if ends_unix_s <= time.time():
        ended = datetime.fromtimestamp(ends_unix_s, UTC).isoformat()
        message = f"{tls.cert_file} holds a certificate that ended at {ended}: clients will refuse it"
        yield Finding((*path, "cert_file"), message, fatal=False)
