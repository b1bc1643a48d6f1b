"""Files and folders of a source that are not clips: what the summary says about them."""

import os
from collections import Counter
from dataclasses import dataclass, field

_ENDINGS = """
    txt csv tsv json jsonl xml yaml yml md rst html pdf log srt vtt ass ini cfg toml py sh ipynb zip tar gz tgz 7z rar
    jpg jpeg png gif bmp tif tiff webp svg heic avif ico wav mp3 m4a aac flac ogg opus wma aiff
    npy npz pkl pickle pt pth h5 hdf5 mat parquet arrow feather task onnx safetensors sha256 md5 torrent
"""
COMPANIONS = frozenset(_ENDINGS.split())
"""Endings of what lies beside clips and is none."""
LISTED = 3
"""Names that the summary says of each kind."""
HEAD = 377
"""Bytes of a file that tell its kind: two packets of an MPEG transport stream."""

MOVING_HEAD = 1024
"""Bytes in which a picture says that it moves: a GIF does so behind up to 781 bytes of colours."""


@dataclass
class Leftovers:
    """What a walk through a source passes over."""

    unreadable: list[str] = field(default_factory=list)
    """Folders that may not be read."""
    endings: Counter[str] = field(default_factory=Counter)
    """Files of endings that say nothing, by ending."""

    def sentences(self) -> list[str]:
        """What the summary says; empty when nothing was passed over."""
        said = []
        if self.unreadable:
            names = ", ".join(sorted(self.unreadable)[:LISTED])
            more = ", ..." if len(self.unreadable) > LISTED else ""
            said.append(f"{_count(len(self.unreadable), 'folder')} cannot be read ({names}{more})")
        if self.endings:
            kinds = ", ".join(
                f"{count} {ending or 'without an ending'}" for ending, count in self.endings.most_common(5)
            )
            said.append(f"{_count(self.endings.total(), 'file')} of no known kind ({kinds})")
        return said


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def is_companion(name: str) -> bool:
    """Whether a file's ending says that it is something else than a video."""
    _, dot, ending = name.rpartition(".")
    return bool(dot) and ending.lower() in COMPANIONS


def is_moving_picture(path: str) -> bool:
    """Whether a local file is an animated GIF, WebP or PNG: no clip to us, and no cover either."""
    if not path.lower().endswith((".gif", ".webp", ".apng")):
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a million of these
            head = file.read(MOVING_HEAD)
    except OSError:
        return False
    webp = head[:4] == b"RIFF" and head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)
    return webp or b"NETSCAPE2.0" in head or b"acTL" in head


def looks_like_a_video(path: str) -> bool:
    """Whether the first bytes of a local file are those of a container of videos."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a million of these
            head = file.read(HEAD)
    except OSError:
        return False
    return (
        head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide")
        or head[:4] in (b"\x1a\x45\xdf\xa3", b"OggS", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b".RMF", b"DKIF")
        or head[:3] == b"FLV"
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or head[:8] == b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
        or (len(head) == HEAD and head[0] == head[188] == head[376] == 0x47)
    )


def escaped(name: str) -> str:
    r"""A file's name as text that can be stored: bytes that are not UTF-8 become `\xNN`.

    >>> escaped(os.fsdecode(b"Jos\xe9"))
    'Jos\\xe9'
    """
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def unescaped(name: str) -> str:
    r"""The name on disk of what `escaped` made.

    >>> os.fsencode(unescaped("Jos\\xe9"))
    b'Jos\xe9'
    """
    data = os.fsencode(name)
    parts = data.split(b"\\x")
    out = parts[0]
    for part in parts[1:]:
        try:
            value = int(part[:2], 16)
        except ValueError:
            value = 0
        out += bytes([value]) + part[2:] if value >= 0x80 and len(part) >= 2 else b"\\x" + part
    return os.fsdecode(out)
