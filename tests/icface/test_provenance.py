"""Marks are read back by exiv2, another program's library."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pyexiv2
import pytest
from PIL import Image, ImageSequence

import icface
from icface.errors import IcfaceError
from icface.images import decode_image, encode_jpeg, encode_png
from icface.provenance import Mark, bundle_hash, mark_gif, mark_jpeg, mark_png
from icface.video.writing import write_gif, write_video

HASH = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("composite", "kind"), [(False, "trainedAlgorithmicMedia"), (True, "compositeWithTrainedAlgorithmicMedia")]
)
def test_marks_of_pictures_and_videos(composite: bool, kind: str, tmp_path: Path) -> None:
    mark = Mark(bundle=HASH, composite=composite)
    picture = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    data = mark_png(encode_png(picture), mark)
    np.testing.assert_array_equal(decode_image(data), picture)
    (tmp_path / "a.png").write_bytes(data)
    write_video(tmp_path / "a.mp4", [picture] * 3, 25, mark=mark)
    jpeg = mark_jpeg(encode_jpeg(picture), mark)
    np.testing.assert_array_equal(decode_image(jpeg), decode_image(encode_jpeg(picture)))
    (tmp_path / "a.jpg").write_bytes(jpeg)
    for name in ("a.png", "a.mp4", "a.jpg"):
        with pyexiv2.Image(str(tmp_path / name)) as image:
            xmp = image.read_xmp()
        assert xmp["Xmp.iptcExt.DigitalSourceType"] == f"http://cv.iptc.org/newscodes/digitalsourcetype/{kind}"
        assert xmp["Xmp.icface.bundle"] == HASH
        assert xmp["Xmp.icface.version"] == icface.__version__
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


def test_marks_of_gif_and_webm(tmp_path: Path) -> None:
    mark = Mark(bundle=HASH)
    pictures = [np.full((16, 16, 3), value, np.uint8) for value in (0, 120, 255)]
    write_gif(tmp_path / "a.gif", pictures, 25, mark=mark)
    blocks = list(gif_blocks((tmp_path / "a.gif").read_bytes()))
    (packet,) = [block for block in blocks if block.startswith(b"XMP DataXMP")]
    assert ElementTree.fromstring(packet[11 : packet.rindex(b"?>") + 2]).find(".//{*}Description") is not None
    assert HASH.encode() in packet and b"/trainedAlgorithmicMedia" in packet
    with Image.open(tmp_path / "a.gif") as opened:
        assert len(list(ImageSequence.Iterator(opened))) == 3
        opened.seek(2)
        assert np.asarray(opened.convert("RGB")).min() == 255
    write_video(tmp_path / "a.webm", pictures, 25, mark=mark)
    with av.open(str(tmp_path / "a.webm")) as container:
        assert container.metadata["DIGITAL_SOURCE_TYPE"].endswith("/trainedAlgorithmicMedia")
        assert container.metadata["ICFACE_BUNDLE"] == HASH
        assert sum(1 for _ in container.decode(video=0)) == 3


def gif_blocks(data: bytes) -> Iterator[bytes]:
    """Name and data of each application extension of a GIF89a, read by the specification."""
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1) * (data[10] >> 7)
    while data[at : at + 1] != b";":
        if data[at : at + 2] == b"\x21\xff":
            begin = at + 3
            at = begin + data[at + 2]
            if data[begin:at] == b"XMP DataXMP":
                end = data.index(b"\x03\x02\x01\x00\x00", at) + 5
                yield data[begin : end - 258]
        elif data[at : at + 1] == b"\x21":
            at += 2
        else:
            assert data[at : at + 1] == b","
            packed = data[at + 9]
            at += 10 + 3 * 2 ** ((packed & 7) + 1) * (packed >> 7) + 1
        while data[at]:  # sub-blocks: those of the packet too, though they are text
            at += data[at] + 1
        at += 1
    assert at == len(data) - 1


def test_only_pngs_are_marked_as_such() -> None:
    with pytest.raises(ValueError, match="only a PNG"):
        mark_png(b"\xff\xd8\xff", Mark(bundle=HASH))
    with pytest.raises(ValueError, match="only a JPEG"):
        mark_jpeg(b"\x89PNG", Mark(bundle=HASH))


def test_half_a_gif_is_not_marked(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"GIF89a...")
    with pytest.raises(ValueError, match="not a complete GIF"):
        mark_gif(tmp_path / "a.gif", Mark(bundle=HASH))


def test_no_bundle_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match="not a model bundle"):
        bundle_hash(tmp_path)
