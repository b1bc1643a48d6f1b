"""Signing what is made by C2PA with the user's own key: who vouches that a file is synthetic and was not edited.

Needs the extra `provenance` (c2pa-python). Like every metadata a manifest can be stripped.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import icface
from icface.errors import IcfaceError, first_line
from icface.files import replacing
from icface.provenance import Mark
from icface.words import pip_install

FORMATS = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}
"""Ending: format. C2PA has no place in a webm."""
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A key and its certificates, ready to sign."""

    algorithm: str
    """By C2PA's name, as in `es256`."""
    key: str = field(repr=False)
    """The private key, PEM; never shown."""
    certificates: str
    """The chain, PEM: the key's own certificate first."""

    @classmethod
    def read(cls, key: str | Path, certificates: str | Path) -> "SigningKey":
        """The key of two PEM files.

        Raises IcfaceError when one is missing or damaged, they do not belong together, C2PA knows no such key, or
        c2pa-python is not installed.
        """
        _c2pa()
        texts = []
        for path in (key, certificates):
            try:
                texts.append(Path(path).read_text("ascii"))
            except (OSError, UnicodeDecodeError) as error:
                raise IcfaceError(
                    f"{path} cannot be read as PEM: {getattr(error, 'strerror', None) or error}"
                ) from None
        return cls(algorithm=_algorithm(texts[0], texts[1], key, certificates), key=texts[0], certificates=texts[1])

    def sign(self, path: str | Path, mark: Mark) -> None:
        """Sign the file in its place, atomically. Its mark is part of what is signed.

        Raises IcfaceError when C2PA refuses the certificates or the file.
        """
        c2pa = _c2pa()
        file = Path(path)
        info = c2pa.C2paSignerInfo(self.algorithm, self.certificates.encode(), self.key.encode(), None)
        try:
            with (
                replacing(file, file.suffix) as temporary,
                c2pa.Signer.from_info(info) as signer,
                c2pa.Builder(_manifest(file.name, FORMATS[file.suffix.lower()], mark)) as builder,
                file.open("rb") as source,
                temporary.open("w+b") as signed,
            ):
                builder.sign(signer, FORMATS[file.suffix.lower()], source, signed)
        except c2pa.C2paError as error:
            raise IcfaceError(f"{path} is written, and C2PA does not sign it: {first_line(error)}") from None


def _manifest(title: str, kind: str, mark: Mark) -> dict[str, Any]:
    """What is signed: the file was created by this program with this model."""
    agent = {"name": "icface", "version": icface.__version__}
    created = {"action": "c2pa.created", "digitalSourceType": mark.source_type, "softwareAgent": agent}
    return {
        "claim_generator_info": [agent],
        "title": title,
        "format": kind,
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": [created]}},
            {"label": "org.icface.model", "data": {"sha256": mark.bundle}},
        ],
    }


def _algorithm(key: str, certificates: str, key_path: str | Path, certificates_path: str | Path) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key.encode(), None)
    except TypeError:
        raise IcfaceError(
            f"{key_path} has a password: write the key without one into a file that only you can read"
        ) from None
    except ValueError:
        raise IcfaceError(f"{key_path} holds no private key in PEM") from None
    try:
        own = x509.load_pem_x509_certificates(certificates.encode())[0]
    except ValueError:
        raise IcfaceError(f"{certificates_path} holds no certificate in PEM") from None
    if own.public_key() != private.public_key():
        raise IcfaceError(f"the first certificate of {certificates_path} is not that of {key_path}")
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    raise IcfaceError(f"{key_path}: C2PA signs with P-256, P-384, P-521, Ed25519 or RSA keys, not with this one")


def _c2pa() -> Any:
    try:
        import c2pa
    except ModuleNotFoundError:
        raise IcfaceError(f"signing needs c2pa-python: {pip_install('c2pa-python')}") from None
    return c2pa
