"""Folders of numbered pictures as clips: what first-order-model's scripts write as `--format .png`."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from icface.errors import IcfaceError
from icface.images import decode_image

PICTURES_FPS = 25.0
"""Pictures have no rate; VoxCeleb's videos have this one."""
_FRAME_ENDINGS = (".png", ".jpg", ".jpeg")
_FRAME_FILE = re.compile(r"(?:.*/)?(\d+)\.(?:png|jpe?g)", re.IGNORECASE)


def is_frame_file(path: str) -> bool:
    """Whether a file is one of a clip's frames: a PNG or JPEG whose name is a number.

    >>> is_frame_file("clip/0000012.png"), is_frame_file("cover.png")
    (True, False)
    """
    return path[-5:].lower().endswith(_FRAME_ENDINGS) and _FRAME_FILE.fullmatch(path) is not None


def frame_files(folder: str | Path) -> list[Path]:
    """The frames of a folder of pictures, in the order of their numbers. Raises IcfaceError when it has none."""
    files = [path for path in Path(folder).iterdir() if is_frame_file(path.name)]
    if not files:
        raise IcfaceError(f"{folder} is not a file, and no folder of pictures 0000000.png, 0000001.png, ...")
    return sorted(files, key=lambda path: (int(path.stem), path.name))


def read_pictures(folder: str | Path) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames, (H, W, 3) uint8 RGB. Raises IcfaceError at the first one that is damaged."""
    for path in frame_files(folder):
        yield decode_image(path.read_bytes(), name=str(path))


def sha256_of_pictures(folder: str | Path) -> str:
    """Hexadecimal sha256 of names and contents of the frames."""
    digest = hashlib.sha256()
    for path in frame_files(folder):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
