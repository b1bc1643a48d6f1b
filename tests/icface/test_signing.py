"""What is signed is read back and validated by C2PA's own library."""

import datetime
import json
from pathlib import Path

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from icface.errors import IcfaceError
from icface.images import decode_image, encode_png
from icface.provenance import Mark, mark_png
from icface.signing import SigningKey
from icface.video.writing import write_gif, write_video

HASH = "0123456789abcdef" * 4


def certificate(name: str, key: ec.EllipticCurvePrivateKey, issuer: tuple | None = None) -> x509.Certificate:
    """One that signs contents (`issuer`: certificate and key of who vouches for it), or an authority."""
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "tests")]
    )
    above, signer = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    usage |= {"digital_signature": issuer is not None, "key_cert_sign": issuer is None, "crl_sign": issuer is None}
    builder = builder.add_extension(x509.KeyUsage(**usage, decipher_only=False), critical=True)
    if issuer:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(signer, hashes.SHA256())


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = certificate("authority", root)
    chain = [certificate("maker", own, (authority, root)), authority]
    key, certificates = folder / "key.pem", folder / "chain.pem"
    key.write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificates.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
    return key, certificates


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.mp4"])
def test_a_signed_file_is_valid_and_says_who_made_it(name: str, pems: tuple[Path, Path], tmp_path: Path) -> None:
    mark = Mark(bundle=HASH, composite=name == "a.png")
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    path = tmp_path / name
    if name.endswith(".png"):
        path.write_bytes(mark_png(encode_png(picture), mark))
    elif name.endswith(".gif"):
        write_gif(path, [picture] * 2, 25, mark=mark)
    else:
        write_video(path, [picture] * 3, 25, mark=mark)
    signing = SigningKey.read(*pems)
    assert "PRIVATE KEY" not in repr(signing)
    signing.sign(path, mark)
    with c2pa.Reader(path) as reader:
        found = json.loads(reader.json())
    manifest = found["manifests"][found["active_manifest"]]
    # The test's own authority is on nobody's list of trusted ones; everything else holds.
    assert {problem["code"] for problem in found.get("validation_status", [])} <= {"signingCredential.untrusted"}
    assert manifest["signature_info"]["common_name"] == "maker"
    assertions = {each["label"].split(".v2")[0]: each["data"] for each in manifest["assertions"]}
    (created,) = assertions["c2pa.actions"]["actions"]
    assert created["digitalSourceType"] == mark.source_type
    assert assertions["org.icface.model"] == {"sha256": HASH}
    if name == "a.png":
        np.testing.assert_array_equal(decode_image(path.read_bytes()), picture)


def test_an_edit_after_signing_shows(pems: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(np.zeros((32, 32, 3), np.uint8)))
    SigningKey.read(*pems).sign(path, Mark(bundle=HASH))
    data = bytearray(path.read_bytes())
    data[data.rindex(b"IDAT") + 8] ^= 1
    path.write_bytes(bytes(data))
    with c2pa.Reader(path) as reader:
        problems = {problem["code"] for problem in json.loads(reader.json())["validation_status"]}
    assert "assertion.dataHash.mismatch" in problems


def test_keys_that_cannot_sign(pems: tuple[Path, Path], tmp_path: Path) -> None:
    key, certificates = pems
    other = ec.generate_private_key(ec.SECP256R1())
    files = {
        "other.pem": (other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "is not that of"),
        "locked.pem": (
            other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
            "password",
        ),
        "none.pem": (b"nothing", "no private key"),
        "binary.pem": (b"\xff\x00", "cannot be read as PEM"),
    }
    for name, (data, said) in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(IcfaceError, match=said):
            SigningKey.read(tmp_path / name, certificates)
    with pytest.raises(IcfaceError, match="cannot be read as PEM: No such file"):
        SigningKey.read(tmp_path / "missing.pem", certificates)
    with pytest.raises(IcfaceError, match="no certificate"):
        SigningKey.read(key, key)
