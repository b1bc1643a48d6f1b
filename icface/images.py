"""Still images: any format in, RGB arrays inside, JPEG or PNG out."""

import io
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from icface.arrays import Picture
from icface.errors import IcfaceError, first_line
from icface.image_modes import to_srgb


def decode_image(data: bytes, name: str = "image") -> Picture:
    """(H, W, 3) uint8 RGB, sRGB, of an encoded image of any mode that Pillow opens, turned upright by its EXIF.

    Deep grey is scaled to 8 bits, a colour profile is applied, transparency lies over `GROUND`. `name` is what an
    error calls it. Raises IcfaceError when it is not an image.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return to_srgb(opened)
    except Image.DecompressionBombError:  # its own words are alarming
        raise IcfaceError(f"{name} has too many pixels to be read as a whole: make it smaller") from None
    except UnidentifiedImageError:  # its own words name an object in memory
        raise IcfaceError(f"{name} cannot be read as an image: it has no format that is known") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise IcfaceError(f"{name} cannot be read as an image: {first_line(error)}") from None


def decode_jpeg(data: npt.NDArray[np.uint8]) -> Picture:
    """(H, W, 3) uint8 RGB of a data set's JPEG bytes (N,) uint8: what `decode_image` gives, in half the time.

    Raises IcfaceError when it is none.
    """
    return _decoded(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def decode_thumbnail(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(H / 8, W / 8) uint8 grey values of JPEG bytes (N,) uint8, for a quick comparison.

    Raises IcfaceError when it is none.
    """
    return _decoded(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)


def read_image(path: str | Path) -> Picture:
    """(H, W, 3) uint8 RGB of an image file. Raises IcfaceError when it is missing or no image."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise IcfaceError(f"{path} cannot be read: {error.strerror or error}") from None
    return decode_image(data, name=str(path))


def encode_jpeg(rgb: Picture, quality: int = 95) -> bytes:
    """JPEG of (H, W, 3) uint8 RGB."""
    return _encode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_png(rgb: Picture) -> bytes:
    """PNG of (H, W, 3) uint8 RGB."""
    return _encode(".png", rgb, [])


def encode_grey_png(values: npt.NDArray[np.uint8]) -> bytes:
    """PNG with one channel of (H, W) uint8."""
    done, data = cv2.imencode(".png", values)
    if not done:
        raise ValueError(f"values of shape {values.shape} cannot be encoded as PNG")
    return data.tobytes()


def resize(rgb: Picture, size: int | tuple[int, int]) -> Picture:
    """`rgb` (H, W, 3) uint8 as (size, size, 3) or (height, width, 3): averaged when it shrinks, cubic when it grows."""
    height, width = (size, size) if isinstance(size, int) else size
    if rgb.shape[:2] == (height, width):
        return rgb
    shrinks = height * width < rgb.shape[0] * rgb.shape[1]
    resized = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def _decoded(data: npt.NDArray[np.uint8], how: int) -> npt.NDArray[np.uint8]:
    picture = cv2.imdecode(data, how) if len(data) else None
    if picture is None:
        raise IcfaceError("a picture of the data set cannot be decoded")
    return np.asarray(picture, np.uint8)


def _encode(extension: str, rgb: Picture, options: list[int]) -> bytes:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"an image must be (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
    done, data = cv2.imencode(extension, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"an image of shape {rgb.shape} cannot be encoded as {extension}")
    return data.tobytes()
