import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icface.errors import IcfaceError
from icface.images import decode_image, decode_jpeg, decode_thumbnail, encode_jpeg, encode_png, read_image, resize


@pytest.fixture
def picture() -> np.ndarray:
    """(48, 64, 3), smooth, each channel its own gradient."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([x * 4, y * 5, (x + y) * 2], axis=-1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_png_keeps_every_value_and_the_channel_order(picture: np.ndarray) -> None:
    data = encode_png(picture)
    assert np.array_equal(decode_image(data), picture)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)


def test_jpeg_is_near_and_keeps_the_channel_order(picture: np.ndarray) -> None:
    with Image.open(io.BytesIO(encode_jpeg(picture))) as image:
        assert image.format == "JPEG"
        other = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(other - picture).mean() < 3
    assert len(encode_jpeg(picture, quality=40)) < len(encode_jpeg(picture, quality=95))


def test_the_quick_way_decodes_the_same(picture: np.ndarray) -> None:
    data = encode_jpeg(picture)
    np.testing.assert_array_equal(decode_jpeg(np.frombuffer(data, np.uint8)), decode_image(data))
    thumbnail = decode_thumbnail(np.frombuffer(data, np.uint8))
    grey = np.asarray(Image.fromarray(picture).convert("L").resize((8, 6), Image.Resampling.BOX)).astype(int)
    assert thumbnail.shape == (6, 8) and np.abs(thumbnail - grey).max() <= 3
    for broken in (b"", b"no picture"):
        with pytest.raises(IcfaceError, match="cannot be decoded"):
            decode_jpeg(np.frombuffer(broken, np.uint8))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1"])
def test_other_colour_modes_become_rgb(picture: np.ndarray, mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    decoded = decode_image(encoded(Image.fromarray(picture).convert(mode), kind))
    assert decoded.shape == picture.shape
    assert decoded.dtype == np.uint8


def test_transparency_lies_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert np.array_equal(decode_image(encoded(clear, "PNG")), np.full((4, 4, 3), 255, np.uint8))


def test_exif_turns_a_picture_upright(picture: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by 90 degrees anticlockwise
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(picture)))
    assert np.array_equal(decode_image(encoded(turned, "PNG", exif=exif)), picture)


@pytest.mark.parametrize("data", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\nbroken"])
def test_what_is_no_image_is_said_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(data)
    with pytest.raises(IcfaceError, match=r"face\.png") as raised:
        read_image(path)
    assert "\n" not in str(raised.value)
    assert "0x" not in str(raised.value)


def test_half_a_jpeg_is_no_image(picture: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode_jpeg(noise)
    with pytest.raises(IcfaceError):
        decode_image(data[: len(data) // 2])


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match="No such file"):
        read_image(tmp_path / "missing.png")


def test_resize_averages_when_it_shrinks(picture: np.ndarray) -> None:
    shrunk = resize(picture, (24, 32)).astype(float)
    blocks = picture.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - blocks).max() <= 0.5
    assert resize(picture, 96).shape == (96, 96, 3)
    assert resize(picture, (48, 64)) is picture


def test_encoding_refuses_what_is_no_picture() -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode_jpeg(np.zeros((4, 4, 3), np.float32))
