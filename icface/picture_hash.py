"""Perceptual hashes of pictures: near each other where a picture was scaled, compressed or lightened."""

import cv2
import numpy as np
import numpy.typing as npt

from icface.arrays import Picture

SIDE = 64
"""Pixels a side to which a picture is brought first."""
WAVES = 16
"""Lowest frequencies in each direction that count."""
BITS = WAVES * WAVES
BANDS = 16
"""Parts of a hash of 16 bits each: hashes that differ in fewer bits than that have one in common."""

Hashes = npt.NDArray[np.uint8]
"""(N, 32): 256 bits each."""


def picture_hash(picture: Picture) -> Hashes:
    """(32,) bytes: which of the lowest frequencies of (H, W, 3) uint8 RGB are above their median.

    The cosine transform of the grey picture, as the well-known pHash has it, with 256 bits for 64.
    """
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:WAVES, :WAVES].ravel()
    # Neighbouring frequencies are alike in many pictures: each band gets some of all of them.
    return np.packbits((low > np.median(low)).reshape(-1, BANDS).T)


def bits_apart(one: Hashes, other: Hashes) -> npt.NDArray[np.int64]:
    """In how many bits hashes differ, 0..256: (N, 32) against (N, 32), or any shapes that go together."""
    return np.bitwise_count(one ^ other).sum(axis=-1, dtype=np.int64)


def near_pairs(hashes: Hashes, owners: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Pairs of rows of (N, 32) hashes that differ in at most `limit` bits and have different owners: (M, 2).

    `owners` (N,): whose each hash is. Only rows with an equal band are compared. So no pair is missed that differs in
    fewer bits than `BANDS`. Of those that differ in 24 bits at random places 99 % are found, in 32 bits 89 %.
    """
    bands = np.ascontiguousarray(hashes).view(np.uint16)
    found = [np.empty((0, 2), np.int64)]
    for band in range(BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        ends = np.flatnonzero(np.diff(bands[order, band])) + 1
        for rows in np.split(order, ends):
            if len(rows) > 1:
                found.append(_near(hashes, owners, rows, limit))
    return np.unique(np.concatenate(found), axis=0)


def _near(
    hashes: Hashes, owners: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], limit: int
) -> npt.NDArray[np.int64]:
    """The pairs of `near_pairs` among some rows, the smaller row first."""
    rows = np.sort(rows)
    pairs = [np.empty((0, 2), np.int64)]
    for place, row in enumerate(rows[:-1]):
        others = rows[place + 1 :]
        others = others[owners[others] != owners[row]]
        near = others[bits_apart(hashes[row], hashes[others]) <= limit]
        pairs.append(np.column_stack([np.full(len(near), row), near]))
    return np.concatenate(pairs)
