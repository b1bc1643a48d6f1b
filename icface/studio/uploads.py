"""What visitors send: bounded in bytes and pixels, and told by its content, never by its name."""

import io
import os
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from icface.arrays import Picture
from icface.errors import IcfaceError
from icface.images import decode_image
from icface.video.reading import probe

Kind = Literal["picture", "video", "csv"]
MIB = 1 << 20
SMALLEST_SIDE = 32
"""Pixels below which no face can be made out."""
CSV_MIB = 20
SIGNATURES: dict[str, tuple[int, bytes]] = {
    "png": (0, b"\x89PNG\r\n\x1a\n"),
    "jpeg": (0, b"\xff\xd8\xff"),
    "gif": (0, b"GIF8"),
    "bmp": (0, b"BM"),
    "webp": (8, b"WEBP"),
    "tiff": (0, b"II*\x00"),
    "tiff-be": (0, b"MM\x00*"),
    "mp4": (4, b"ftyp"),
    "matroska": (0, b"\x1aE\xdf\xa3"),
    "avi": (8, b"AVI "),
}
"""Format: where in a file its mark stands."""
VIDEOS = {"mp4": ".mp4", "matroska": ".mkv", "avi": ".avi"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest uploads."""

    picture_mib: int = 25
    picture_megapixels: int = 40
    picture_side: int = 12000
    """Longest side, pixels."""
    video_mib: int = 200
    video_side: int = 4096
    video_seconds: int = 600

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")


def kind_of(data: bytes) -> Kind:
    """What an upload is, by its first bytes (at least 64 of them, or all).

    Raises IcfaceError when it is neither a picture, a video nor a csv.
    """
    for name, (offset, mark) in SIGNATURES.items():
        if data[offset : offset + len(mark)] == mark:
            return "video" if name in VIDEOS else "picture"
    first_line = data.split(b"\n", 1)[0].strip()
    if re.fullmatch(rb"[\x20-\x7e\t]+", first_line) and b"\0" not in data:
        if re.search(rb"(AU\d\d|pose_)", first_line):
            return "csv"
        raise IcfaceError(
            "this text file is not a table of attributes: its first line names no AU01, AU02, ... or pose_yaw"
        )
    raise IcfaceError("this file is neither a picture, a video nor a csv of attributes; choose a PNG, JPEG or MP4")


async def receive(chunks: AsyncIterator[bytes], most: int) -> bytes:
    """The body of a request. Raises IcfaceError as soon as it is longer than `most` bytes."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > most:
            raise IcfaceError(f"this file is larger than the {most // MIB} MiB that this page takes")
    return bytes(body)


def read_picture(data: bytes, limits: Limits) -> Picture:
    """(H, W, 3) uint8 RGB of an uploaded portrait, upright; of an animated one the first frame.

    Raises IcfaceError when it is not a picture, is damaged, or is larger or smaller than can be used. The size is read
    from the header before anything is decoded.
    """
    if not data:
        raise IcfaceError("the file is empty; choose another picture")
    if kind_of(data) != "picture":
        raise IcfaceError("this is not a picture; choose a PNG, JPEG, WebP, GIF, BMP or TIFF")
    if len(data) > limits.picture_mib * MIB:
        raise IcfaceError(f"this picture is larger than the {limits.picture_mib} MiB that this page takes")
    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
    except Image.DecompressionBombError:
        raise IcfaceError("this picture has far too many pixels; make it smaller") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise IcfaceError("this picture is damaged and cannot be read") from None
    if max(width, height) > limits.picture_side or width * height > limits.picture_megapixels * 1_000_000:
        raise IcfaceError(
            f"this picture has {width} x {height} pixels; this page takes up to {limits.picture_side} on a side and "
            f"{limits.picture_megapixels} million in all: make it smaller"
        )
    if min(width, height) < SMALLEST_SIDE:
        raise IcfaceError(f"this picture has {width} x {height} pixels, too few to show a face")
    return decode_image(data, name="this picture")


def keep_driver(data: bytes, folder: Path, limits: Limits) -> Path:
    """An uploaded driver as a file in `folder`, under a name of ours.

    Raises IcfaceError when it is nothing that drives, or too large; then no file is left.
    """
    if not data:
        raise IcfaceError("the file is empty; choose another one")
    kind = kind_of(data)
    if kind == "picture":
        read_picture(data, limits)
        ending = ".png"  # `read_driving` takes every format under it
    elif kind == "csv":
        if len(data) > CSV_MIB * MIB:
            raise IcfaceError(f"this csv is larger than the {CSV_MIB} MiB that this page takes")
        ending = ".csv"
    else:
        formats = (
            VIDEOS[name] for name, (at, mark) in SIGNATURES.items() if name in VIDEOS and data[at:].startswith(mark)
        )
        ending = next(formats)
    handle, name = tempfile.mkstemp(dir=folder, prefix="driver-", suffix=ending)
    path = Path(name)
    try:
        os.close(handle)
        path.write_bytes(data)
        if kind == "video":
            check_video(path, limits)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def check_video(path: Path, limits: Limits) -> None:
    """Raise IcfaceError when a clip cannot be read, or is too long or too large."""
    try:
        info = probe(path)
    except IcfaceError as error:
        raise IcfaceError(str(error).replace(str(path), "this video")) from None
    if max(info.width, info.height) > limits.video_side:
        raise IcfaceError(f"this video has {info.width} x {info.height} pixels; take one of up to {limits.video_side}")
    if info.seconds > limits.video_seconds:
        raise IcfaceError(f"this video lasts {info.seconds:.0f} s; take one of up to {limits.video_seconds} s")
