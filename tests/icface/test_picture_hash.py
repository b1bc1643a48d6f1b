"""Perceptual hashes: what leaves a picture the same one, and that no near pair is missed."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.images import decode_image, encode_jpeg
from icface.picture_hash import BANDS, BITS, bits_apart, near_pairs, picture_hash
from icface.video.reading import read_frames


@pytest.fixture(scope="module")
def faces(sample_clips: dict[str, Path]) -> list[np.ndarray]:
    """A frame of each of the two sample clips."""
    return [next(iter(read_frames(path, window=1)))[1][0] for path in sample_clips.values()]


def test_a_copy_is_near_and_another_picture_is_far(faces: list[np.ndarray]):
    one, other = faces
    height, width = one.shape[:2]
    small = cv2.resize(one, (width // 3, height // 3), interpolation=cv2.INTER_AREA)
    for copy in (decode_image(encode_jpeg(one, 20)), small, (one * 0.8).astype(np.uint8)):
        assert bits_apart(picture_hash(one), picture_hash(copy)) < BANDS
    assert bits_apart(picture_hash(one), picture_hash(other)) > BITS / 4
    assert bits_apart(picture_hash(one), picture_hash(np.ascontiguousarray(one[:, ::-1]))) > BANDS


def test_near_pairs_are_those_of_all_comparisons():
    rng = np.random.default_rng(0)
    # Families of hashes, a few bits from one another, of owners at random.
    families = rng.integers(0, 256, (12, 32), np.uint8)
    hashes = np.repeat(families, 10, axis=0)
    for row in hashes:
        for bit in rng.integers(0, BITS, rng.integers(1, 14)):
            row[bit // 8] ^= 1 << (bit % 8)
    owners = rng.integers(0, 5, len(hashes))

    def apart(one: int, other: int) -> int:
        return sum((int(a) ^ int(b)).bit_count() for a, b in zip(hashes[one], hashes[other], strict=True))

    for limit in (0, 7, BANDS - 1, 24):
        expected = {
            (one, other)
            for one in range(len(hashes))
            for other in range(one + 1, len(hashes))
            if owners[one] != owners[other] and apart(one, other) <= limit
        }
        found = {(one, other) for one, other in near_pairs(hashes, owners, limit).tolist()}
        assert found <= expected
        assert len(found) >= (1.0 if limit < BANDS else 0.95) * len(expected)
        assert expected or limit == 0
