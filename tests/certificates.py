"""A private certificate authority, and a certificate of a server on this machine."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def _write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*form))
    return key


def make(folder: Path) -> tuple[Path, Path, Path]:
    """Return the files of an authority's certificate, of a server's certificate for 127.0.0.1, and of its key."""
    folder.mkdir()
    authority, certificate, key_file = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
    authority_key, key = _write_key(folder / "ca.key"), _write_key(key_file)
    issuer, subject = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("a private authority", "redis"))
    now = datetime.datetime.now(datetime.UTC)
    own = _builder(issuer, issuer, authority_key, now).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    authority.write_bytes(own.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = _builder(subject, issuer, key, now).add_extension(names, critical=False).sign(authority_key, hashes.SHA256())
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return authority, certificate, key_file


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - DAY).not_valid_after(now + DAY)
