import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

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


MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "LAB", "I;16", "I", "F")


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_shows_the_same_picture(picture: np.ndarray, mode: str) -> None:
    """Blocks of four colours, seen through each of Pillow's modes."""
    blocks = np.array([[[200, 60, 40], [40, 160, 80]], [[60, 70, 190], [220, 220, 220]]], np.uint8)
    picture = blocks.repeat(16, 0).repeat(16, 1)
    source = Image.fromarray(picture)
    grey = np.asarray(source.convert("L"))
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "I":
        image = Image.fromarray(grey.astype(np.int32) * 257)
    elif mode == "F":
        image = Image.fromarray(grey.astype(np.float32) / 255)
    elif mode == "LAB":
        image = ImageCms.profileToProfile(
            source, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    elif mode == "PA":
        image = source.convert("P", palette=Image.Palette.ADAPTIVE).convert("PA")
    elif mode == "P":
        image = source.convert("P", palette=Image.Palette.ADAPTIVE)
    else:
        image = source.convert("L").convert("LA") if mode == "LA" else source.convert(mode)
    # Every mode has a format that keeps it; formats differ in which.
    for kind in ("TIFF", "PNG"):
        try:
            data = encoded(image, kind)
        except OSError:
            continue
        decoded = decode_image(data).astype(int)
        assert decoded.shape == picture.shape
        expected = grey[..., None] if mode in ("L", "LA", "I;16", "I", "F") else picture
        if mode == "1":
            assert set(np.unique(decoded)) == {0, 255}
        else:
            assert np.abs(decoded - expected).max() <= (8 if mode == "LAB" else 4)


def test_grey_of_12_bits_and_grey_whose_white_is_zero(tmp_path: Path) -> None:
    ramp = np.linspace(0, 4095, 256).round().astype(np.uint16).reshape(16, 16)
    image = Image.fromarray(ramp)
    data = io.BytesIO()
    image.save(data, "TIFF", tiffinfo={262: 0})
    assert decode_image(data.getvalue())[0, 0].tolist() == [255, 255, 255]
    assert decode_image(data.getvalue())[-1, -1].tolist() == [255 - round(4095 / 257)] * 3


def test_a_transparent_palette_and_deep_grey_show_the_ground(picture: np.ndarray) -> None:
    palette = Image.fromarray(picture).convert("P")
    clear = palette.getpixel((0, 0))
    decoded = decode_image(encoded(palette, "PNG", transparency=clear))
    assert (decoded[np.asarray(palette) == clear] == 255).all()
    deep = Image.fromarray(np.array([[1000, 65535], [0, 30000]], np.uint16))
    decoded = decode_image(encoded(deep, "PNG", transparency=1000))
    assert decoded[..., 0].tolist() == [[255, 255], [0, 117]]


def test_half_transparent_is_half_ground() -> None:
    half = Image.new("RGBA", (4, 4), (200, 100, 0, 128))
    decoded = decode_image(encoded(half, "PNG"))
    assert np.abs(decoded[0, 0].astype(int) - [227, 177, 127]).max() <= 1


def exchanged_profile() -> bytes:
    """sRGB whose first channel is green and whose second is red."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = data.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)
    return data.replace("sRGB".encode("utf-16-be"), "grbX".encode("utf-16-be"))


def exchanged_inks() -> bytes:
    """A printer's profile in which cyan ink is magenta, and magenta cyan: ICC.1:2001, a `lut8` of two points a side."""
    corners = np.array([[c, m, y, k] for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)])
    c, m, y, k = corners.T
    rgb = (np.stack([1 - m, 1 - c, 1 - y], axis=1) * (1 - k)[:, None] * 255).astype(np.uint8)
    lab = ImageCms.profileToProfile(
        Image.fromarray(rgb[None]), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    ramp = bytes(range(256))
    # Pillow keeps a and b signed, the file keeps them with an offset of 128.
    values = np.asarray(lab)[0] + np.array([0, 128, 128], np.uint8)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(np.eye(3, dtype=int).ravel() << 16))
    lut += ramp * 4 + values.tobytes() + ramp * 3
    text = b"inks\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061),
        b"A2B0": lut,
    }
    table, body, place = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", place + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", place + len(body), b"none", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_an_embedded_profile_is_converted_to_srgb(mode: str) -> None:
    image = Image.new("RGB", (8, 8), (200, 60, 40))
    image = image.quantize(2) if mode == "P" else image.convert(mode)
    decoded = decode_image(encoded(image, "PNG", icc_profile=exchanged_profile()))
    assert np.abs(decoded[4, 4].astype(int) - [60, 200, 40]).max() <= 3


def test_cmyk_is_shown_by_its_profile() -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert decode_image(encoded(cyan, "TIFF"))[4, 4].tolist() == [0, 255, 255]
    decoded = decode_image(encoded(cyan, "TIFF", icc_profile=exchanged_inks()))
    assert np.abs(decoded[4, 4].astype(int) - [255, 0, 255]).max() <= 12


def test_a_profile_of_other_colours_than_the_picture_is_passed_over() -> None:
    grey = Image.new("L", (8, 8), 90)
    for profile in (exchanged_inks(), b"no profile at all"):
        assert decode_image(encoded(grey, "PNG", icc_profile=profile))[0, 0].tolist() == [90] * 3


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
