"""Pillow's modes to 8-bit sRGB: deep grey, palettes, transparency, CMYK, Lab, colour profiles."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

GROUND = 255
"""Grey value that shows through where a picture is transparent."""
BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
"""Tags of TIFF."""
WHITE_IS_ZERO = 0
SRGB = ImageCms.createProfile("sRGB")


def to_srgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 of a picture of any mode, turned upright by its EXIF.

    Grey of more than 8 bits (`I;16`, `I`, `F`) is scaled by the largest number that it can hold. That is the bits that
    a TIFF states, and 16 for `I;16`. For `I` and `F` it is the least of 1, 255, 65535 that holds them all, else their
    maximum. An embedded profile is converted to sRGB; CMYK without one by Pillow's rule. Transparent parts show
    `GROUND`.
    """
    top, inverted = _deepest(image), _tag(image, PHOTOMETRIC) == WHITE_IS_ZERO
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep_grey(image, top, inverted)
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    colours = _colours(image)
    if alpha is None:
        return np.array(colours)
    ground = Image.new("RGB", colours.size, (GROUND,) * 3)
    ground.paste(colours, mask=alpha)
    return np.array(ground)


def _colours(image: Image.Image) -> Image.Image:
    """The picture as RGB, without its transparency, in sRGB."""
    profile = _profile(image)
    if image.mode == "LAB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    elif image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    plain = {"P": "RGB", "PA": "RGB", "LA": "L", "1": "L", "RGBA": "RGB", "RGBX": "RGB", "HSV": "RGB", "YCbCr": "RGB"}
    base = image.convert(plain.get(image.mode, image.mode)) if image.mode in plain else image
    if image.mode == "P" and image.has_transparency_data:
        base = image.convert("RGBA").convert("RGB")
    if profile is not None:
        try:
            converted = ImageCms.profileToProfile(base, profile, SRGB, outputMode="RGB")
        except ImageCms.PyCMSError:  # a profile of other colours than the picture's, or a damaged one
            converted = None
        if converted is not None:
            return converted
    return base.convert("RGB")


def _profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The embedded profile, unless it is damaged or sRGB itself."""
    data = image.info.get("icc_profile")
    if not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        return None if "srgb" in ImageCms.getProfileDescription(profile).lower() else profile
    except (ImageCms.PyCMSError, OSError):
        return None


def _from_deep_grey(image: Image.Image, top: float | None, inverted: bool) -> npt.NDArray[np.uint8]:
    values = np.nan_to_num(np.asarray(image, np.float64), posinf=0.0, neginf=0.0)
    if top is None:
        largest = float(values.max(initial=0.0))
        tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        top = next((value for value in tops if largest <= value), largest)
    grey = (values.clip(0, top) * (255 / top)).round().astype(np.uint8)
    if inverted:
        grey = 255 - grey
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = GROUND
    return np.repeat(grey[..., None], 3, axis=2)


def _deepest(image: Image.Image) -> float | None:
    """The largest number that a sample of deep grey can have; None where the file does not say."""
    if not image.mode.startswith("I;16"):
        return None
    bits = _tag(image, BITS_PER_SAMPLE)
    return float(2 ** (bits[0] if isinstance(bits, tuple) else 16) - 1)


def _tag(image: Image.Image, number: int) -> object:
    """A tag of a TIFF; None for other formats."""
    tags = getattr(image, "tag_v2", None)
    return None if tags is None else tags.get(number)
