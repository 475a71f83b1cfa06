"""The PEM files of a listener: put into a TLS context; and when that fails, which file it is and why.

What is said about a file never holds anything of its content.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import Literal, NoReturn

from plano.config.plan import TlsPlan

FileKey = Literal["cert_file", "key_file", "client_ca_file", "upstream_tls_ca_path"]

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY_LABEL = "PRIVATE KEY-----"
_NOT_A_PAIR = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})
_TOO_WEAK = frozenset({"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"})

# Tags of DER (ITU-T X.690) in a certificate (RFC 5280, 4.1): the version is optional, the two kinds of time.
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18


class CertificateError(Exception):
    """A file that TLS needs cannot be used. `key` names it in the config, `reason` reads after the file's name."""

    def __init__(self, key: FileKey, path: str, reason: str) -> None:
        super().__init__(f"{key} {path} {reason}")
        self.key = key
        self.path = path
        self.reason = reason


def load_certificates(context: ssl.SSLContext, plan: TlsPlan) -> float:
    """Make `context` serve with the certificate of `plan`, and with `client_ca_file` ask clients for theirs.

    Returns the Unix time at which the first certificate of the chain ends, which may be in the past. Raises
    CertificateError; the context is then of no use.
    """
    chain = _read("cert_file", plan.cert_file)
    ends_unix_s = _find_end(chain, plan.cert_file)
    if _KEY_LABEL not in _read("key_file", plan.key_file):
        raise CertificateError("key_file", plan.key_file, "holds no private key in PEM form")

    def refuse_passphrase() -> NoReturn:  # without it OpenSSL would ask at the terminal, and wait
        raise CertificateError("key_file", plan.key_file, "is locked by a passphrase; Plano takes keys without one")

    try:
        context.load_cert_chain(plan.cert_file, plan.key_file, password=refuse_passphrase)
    except ssl.SSLError as error:
        raise _explain(error, plan, chain) from None
    except OSError as error:
        raise CertificateError("key_file", plan.key_file, _spell(error)) from None
    if plan.client_ca_file is not None:
        load_authorities(context, "client_ca_file", plan.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return ends_unix_s


def load_authorities(context: ssl.SSLContext, key: FileKey, path: str) -> None:
    """Make `context` trust the authorities of a PEM file. Raises CertificateError."""
    if not _CERTIFICATE.search(_read(key, path)):
        raise CertificateError(key, path, "holds no certificate in PEM form")
    try:
        context.load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        raise CertificateError(key, path, f"holds a certificate that cannot be read ({_spell(error)})") from None


def _explain(error: ssl.SSLError, plan: TlsPlan, chain: str) -> CertificateError:
    if error.reason in _NOT_A_PAIR:
        return CertificateError("key_file", plan.key_file, f"is not the key of the certificate in {plan.cert_file}")
    if error.reason in _TOO_WEAK:
        return CertificateError("cert_file", plan.cert_file, f"is too weak to be served ({_spell(error)})")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=chain)
    except (ssl.SSLError, ValueError):
        reason = f"holds a certificate that cannot be read ({_spell(error)})"
        return CertificateError("cert_file", plan.cert_file, reason)
    return CertificateError("key_file", plan.key_file, f"holds a private key that cannot be read ({_spell(error)})")


def _read(key: FileKey, path: str) -> str:
    try:
        with open(path, encoding="latin-1") as file:
            return file.read()
    except FileNotFoundError:
        raise CertificateError(key, path, "does not exist") from None
    except (OSError, ValueError) as error:
        raise CertificateError(key, path, f"cannot be read: {_spell(error)}") from None


def _spell(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not valid").replace("_", " ").lower()
    return (isinstance(error, OSError) and error.strerror) or "not a usable path"


def _find_end(chain: str, path: str) -> float:
    """The Unix time at which the first of the certificates in a PEM text ends."""
    blocks = _CERTIFICATE.findall(chain)
    if not blocks:
        raise CertificateError("cert_file", path, "holds no certificate in PEM form")
    try:
        return min(_read_end(ssl.PEM_cert_to_DER_cert(block)) for block in blocks)
    except (ValueError, IndexError):
        raise CertificateError("cert_file", path, "holds a certificate that cannot be read") from None


def _read_end(der: bytes) -> float:
    """The notAfter of a certificate as a Unix time. Raises ValueError or IndexError for what is none."""
    _, at, _ = _open_element(der, 0)  # Certificate
    _, at, _ = _open_element(der, at)  # TBSCertificate
    tag, _, end = _open_element(der, at)
    if tag == _VERSION:
        at = end
    for _field in ("serialNumber", "signature", "issuer"):
        _, _, at = _open_element(der, at)
    _, at, _ = _open_element(der, at)  # Validity
    _, _, at = _open_element(der, at)  # notBefore
    tag, at, end = _open_element(der, at)
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("no time where notAfter should be")
    text = der[at:end].decode("ascii")
    if tag == _UTC_TIME:  # RFC 5280, 4.1.2.5.1: two digits for 1950 to 2049
        text = ("20" if text < "5" else "19") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _open_element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, beginning and end of the content of the element at `at`."""
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + size], "big"), begin + size
    if begin + length > len(der):
        raise ValueError("an element is cut off")
    return der[at], begin, begin + length
