"""Marks are read back by exiv2, another program's library."""

from pathlib import Path

import av
import numpy as np
import pyexiv2
import pytest

import icface
from icface.errors import IcfaceError
from icface.images import decode_image, encode_png
from icface.provenance import Mark, bundle_hash, mark_png
from icface.video.writing import write_video

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
    for name in ("a.png", "a.mp4"):
        with pyexiv2.Image(str(tmp_path / name)) as image:
            xmp = image.read_xmp()
        assert xmp["Xmp.iptcExt.DigitalSourceType"] == f"http://cv.iptc.org/newscodes/digitalsourcetype/{kind}"
        assert xmp["Xmp.icface.bundle"] == HASH
        assert xmp["Xmp.icface.version"] == icface.__version__
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


def test_only_pngs_are_marked_as_such() -> None:
    with pytest.raises(ValueError, match="only a PNG"):
        mark_png(b"\xff\xd8\xff", Mark(bundle=HASH))


def test_no_bundle_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(IcfaceError, match="not a model bundle"):
        bundle_hash(tmp_path)
