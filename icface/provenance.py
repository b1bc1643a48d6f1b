"""Marking what is made: IPTC's DigitalSourceType, this version and the model's hash, in every file that is written.

As XMP in png, jpeg, gif and mp4, as tags in webm.

The mark tells programs that a picture is synthetic. It is metadata: who wants to can strip it.
"""

import hashlib
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

import icface
from icface.errors import IcfaceError

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SYNTHETIC = f"{SOURCE_TYPE}trainedAlgorithmicMedia"
"""Every pixel comes from a model."""
COMPOSITE = f"{SOURCE_TYPE}compositeWithTrainedAlgorithmicMedia"
"""A model's pixels in a real picture."""
NAMESPACE = "urn:icface:xmp:1#"
"""Of the properties `icface:version` and `icface:bundle`."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = b"XML:com.adobe.xmp"
"""Of the iTXt chunk that holds XMP in a PNG (XMP specification, part 3)."""
XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""Of the box that holds XMP in an mp4 (ibid.)."""
XMP_GIF = b"XMP DataXMP"
"""Name of the application extension that holds XMP in a GIF (ibid.)."""
XMP_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
"""Begins the APP1 segment that holds XMP in a JPEG (ibid.)."""
SPARE = 32
"""Bytes of the free box after it."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What a file says about its making."""

    bundle: str
    """sha256 of the model's weights, hexadecimal."""
    composite: bool = False
    """Whether the face was put back into a real picture."""

    @property
    def source_type(self) -> str:
        """The IPTC digital source type: of a composite with real parts, or of a picture made as a whole."""
        return COMPOSITE if self.composite else SYNTHETIC

    def tags(self) -> dict[str, str]:
        """The same as names and values, for containers without XMP (webm)."""
        return {
            "DIGITAL_SOURCE_TYPE": self.source_type,
            "ICFACE_VERSION": icface.__version__,
            "ICFACE_BUNDLE": self.bundle,
        }

    def xmp(self) -> bytes:
        """The XMP packet, UTF-8."""
        values = {
            "Iptc4xmpExt:DigitalSourceType": self.source_type,
            "xmp:CreatorTool": f"icface {icface.__version__}",
            "icface:version": icface.__version__,
            "icface:bundle": self.bundle,
        }
        attributes = "\n   ".join(f"{name}={quoteattr(value)}" for name, value in values.items())
        return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
   xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
   xmlns:xmp="http://ns.adobe.com/xap/1.0/"
   xmlns:icface="{NAMESPACE}"
   {attributes}/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>""".encode()


def bundle_hash(folder: str | os.PathLike[str]) -> str:
    """sha256 of a bundle folder's `model.safetensors`, hexadecimal; a registered model's folder will do too.

    Raises IcfaceError when there is no such file.
    """
    root = Path(folder)
    candidates = [root / "model.safetensors", *sorted(root.glob("artifacts/*/model.safetensors"))]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise IcfaceError(f"{folder} is not a model bundle: it has no model.safetensors")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def mark_png(data: bytes, mark: Mark) -> bytes:
    """A PNG with the mark in it; the pixels stay as they are. Raises ValueError when `data` is not a PNG."""
    header_ends = len(PNG_SIGNATURE) + 25  # IHDR has 13 bytes, with length, type and checksum 25
    if not data.startswith(PNG_SIGNATURE) or data[12:16] != b"IHDR":
        raise ValueError("only a PNG can be marked here")
    # iTXt: keyword, not compressed, no language, no translated keyword, text.
    body = b"iTXt" + XMP_KEYWORD + b"\0\0\0\0\0" + mark.xmp()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:header_ends] + chunk + data[header_ends:]


def mark_jpeg(data: bytes, mark: Mark) -> bytes:
    """A JPEG with the mark in it; the pixels stay as they are. Raises ValueError when `data` is not a JPEG."""
    if not data.startswith(b"\xff\xd8"):
        raise ValueError("only a JPEG can be marked here")
    # JFIF, where it stands, must stay the first segment.
    at = 4 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2
    body = XMP_JPEG + mark.xmp()
    return data[:at] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[at:]


def mark_gif(path: str | os.PathLike[str], mark: Mark) -> None:
    """Put the mark before the end of a complete GIF."""
    # After the packet a run that leads a reader of sub-blocks, wherever it lands in the text, to the closing 0.
    tail = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    with Path(path).open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b";":
            raise ValueError(f"{path} is not a complete GIF")
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\x21\xff" + bytes([len(XMP_GIF)]) + XMP_GIF + mark.xmp() + tail + b";")


def mark_mp4(path: str | os.PathLike[str], mark: Mark) -> None:
    """Append the mark to a complete mp4 file as a box of its own; no offset in the file moves."""
    body = XMP_UUID + mark.xmp()
    with Path(path).open("ab") as stream:
        stream.write(struct.pack(">I", len(body) + 8) + b"uuid" + body)
        # exiv2 reads 24 bytes beyond this box, and calls the file corrupt where it ends there.
        stream.write(struct.pack(">I", 8 + SPARE) + b"free" + bytes(SPARE))
