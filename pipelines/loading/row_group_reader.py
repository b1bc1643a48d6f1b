"""Row groups as training sees them: read once for several pairs, their pictures left encoded until one is drawn."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from icface.analyzers.registry import SYNTHETIC
from icface.attributes import columns_of
from icface.images import decode_thumbnail
from icface.labels import balanced_sampling_weights, baseline, less_baseline, medoid, neutral_frames, smooth
from icface.spread import evenly
from icface.training.config import DataConfig
from pipelines.dataset import Dataset
from pipelines.format import label_columns, labels_of

COLUMNS = ("frame", "image", "landmarks")
"""What is read beside the labels."""
KEPT_BYTES = 192 * 2**20
"""Memory of the row groups that a reading process keeps: about 50 full ones of 128 px, or a thousand short ones."""
CANDIDATES = 8
"""Near-neutral frames of a row group that are compared by thumbnails, spread over all there are."""


@dataclass(frozen=True)
class RowGroupSample:
    """A row group as training sees it: the frames that may be trained on."""

    jpegs: npt.NDArray[np.uint8]
    """The encoded pictures one after another."""
    ends: list[int]
    """(N + 1,) where each begins in `jpegs`, and where the last one ends."""
    labels: npt.NDArray[np.float32]
    """(N, 20) raw, smoothed, less the baseline where that is asked for; (N, 36) with sides."""
    landmarks: npt.NDArray[np.float16]
    """(N, 68, 2) fractions of the crop."""
    neutral: int | None
    """Row of the near-neutral frame that is most like the others; None when there is none."""
    chances: npt.NDArray[np.float64]
    """(N,) ascending to 1: the summed chances of the rows to be a balanced driving frame."""

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return int(self.jpegs.nbytes + self.labels.nbytes + self.landmarks.nbytes + self.chances.nbytes)

    def jpeg(self, row: int) -> npt.NDArray[np.uint8]:
        """The encoded picture of a row, without a copy."""
        return self.jpegs[self.ends[row] : self.ends[row + 1]]


class RowGroupReader:
    """Reads row groups of a data set; the last ones, of `KEPT_BYTES`, stay in memory. Can be pickled."""

    def __init__(self, dataset: Dataset, config: DataConfig, ignored: Sequence[str] = ()) -> None:
        """`config` says how labels are made ready: `smoothing_frames`, `baselines`, `sides`.

        `ignored` names attributes that are read as not measured.
        """
        self.dataset = dataset
        self.config = config
        self._ignored = columns_of(ignored, config.sides)
        self._kept: OrderedDict[tuple[str, int], RowGroupSample] = OrderedDict()
        self._neutral: dict[tuple[str, int], int] = {}

    def sample(self, file: str, ordinal: int) -> RowGroupSample:
        """The row group `ordinal` of `file`."""
        key = (file, ordinal)
        sample = self._kept.pop(key, None)
        if sample is None:
            sample = self._read(key)
            room = KEPT_BYTES - sample.nbytes - sum(kept.nbytes for kept in self._kept.values())
            while room < 0 and self._kept:
                room += self._kept.popitem(last=False)[1].nbytes
        self._kept[key] = sample
        return sample

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": OrderedDict()}

    def _read(self, key: tuple[str, int]) -> RowGroupSample:
        config = self.config
        table = self.dataset.read_rows(*key, columns=[*COLUMNS, *label_columns(config.sides)])
        raw = labels_of(table, config.sides)
        raw[:, self._ignored] = np.nan
        labels = smooth(table["frame"].to_numpy(), raw, smoothing_frames(self.dataset, config))
        if config.baselines:
            # Of these frames, up to 512 of one track, and not of all: no other file has to be opened for it.
            labels = less_baseline(labels, baseline(raw))
        images, landmarks = (_whole(table[name]) for name in ("image", "landmarks"))
        sample = RowGroupSample(
            jpegs=np.frombuffer(images.buffers()[2], np.uint8),
            ends=np.frombuffer(images.buffers()[1], np.int32)[images.offset :][: len(images) + 1].tolist(),
            labels=labels,
            landmarks=landmarks.flatten().to_numpy(zero_copy_only=False).reshape(-1, 68, 2),
            neutral=None,
            chances=np.cumsum(balanced_sampling_weights(labels)),
        )
        return replace(sample, neutral=self._neutral_row(key, sample))

    def _neutral_row(self, key: tuple[str, int], sample: RowGroupSample) -> int | None:
        """Decodes thumbnails of a few frames, the first time that the row group is read."""
        if key not in self._neutral:
            near = neutral_frames(sample.labels)
            near = np.array(evenly(near.tolist(), CANDIDATES), np.int64)
            thumbnails = np.array([decode_thumbnail(sample.jpeg(row)) for row in near])
            self._neutral[key] = int(near[medoid(thumbnails)]) if len(near) else -1
        row = self._neutral[key]
        return None if row < 0 else row


def smoothing_frames(dataset: Dataset, config: DataConfig) -> int:
    """Over how many frames labels of a data set are averaged. Those of synthetic people are exact: 1."""
    return 1 if dataset.analyzer["name"] == SYNTHETIC else config.smoothing_frames


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece; one that is so already is not copied."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
