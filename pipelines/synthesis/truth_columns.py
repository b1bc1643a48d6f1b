"""Columns beyond those of a real clip: what each pixel shows, and where the same point is in the neutral frame."""

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from icface.images import encode_grey_png
from icface.labels import distance_from_neutral
from icface.synthetic.body import Body
from icface.synthetic.camera import Motion
from icface.synthetic.pixel_truth import flows, masks
from pipelines.format import ROW_GROUP_ROWS, TRUTH, list_array
from pipelines.preprocess.track_rows import Detection

FLOW_STEPS = 64
"""Steps of a pixel in which flow is stored: a quarter less to store, and no coarser than float16 from 16 px on."""
FLOW_BYTES = 64 << 20
"""Bytes of flow that a row group has at most, unless one frame has more."""


class TruthColumns:
    """Makes the columns of `TRUTH` that a data set has."""

    def __init__(
        self,
        names: Collection[str],
        body: Body,
        motion: Motion,
        squares: npt.NDArray[np.float32],
        size: int,
        candidates: Sequence[Detection],
    ) -> None:
        """`motion` and `squares` (N, 3) are those of the whole clip; one of `candidates` becomes the neutral frame."""
        self.names, self.body, self.motion, self.squares, self.size = names, body, motion, squares, size
        labels = np.stack([each.face.attributes for each in candidates])
        self.neutral = candidates[int(distance_from_neutral(labels).argmin())].frame
        """The frame nearest to a relaxed face that looks ahead."""

    @property
    def most_rows(self) -> int:
        """How many rows a row group may have."""
        flow = 2 * np.dtype(np.float16).itemsize * self.size * self.size
        return min(ROW_GROUP_ROWS, max(1, FLOW_BYTES // flow)) if "flow" in self.names else ROW_GROUP_ROWS

    def added(self, table: pa.Table) -> pa.Table:
        """A row group of consecutive frames with the columns beside those that it has."""
        rows = slice(table["frame"][0].as_py(), table["frame"][-1].as_py() + 1)
        pictures = self.body, self.motion[rows], self.squares[rows], self.size
        columns: dict[str, pa.Array] = {}
        if "mask" in self.names:
            columns["mask"] = pa.array([encode_grey_png(mask) for mask in masks(*pictures)], pa.binary())
        if "flow" in self.names:
            only = slice(self.neutral, self.neutral + 1)
            flow, seen = flows(*pictures, self.motion[only], self.squares[only])
            steps = np.round(flow * FLOW_STEPS) / FLOW_STEPS
            columns["flow"] = list_array(steps.reshape(len(table), -1), len(table), TRUTH["flow"].field("flow").type)
            columns["flow_frame"] = pa.array(np.full(len(table), self.neutral, np.int32))
            white = seen.astype(np.uint8) * np.uint8(255)
            columns["visibility"] = pa.array([encode_grey_png(each) for each in white], pa.binary())
        for name, schema in TRUTH.items():
            for field in schema if name in self.names else ():
                table = table.append_column(field, columns[field.name])
        return table
