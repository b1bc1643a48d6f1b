"""A naive peer for `preprocess.py`: what somebody writes in an afternoon with plain `ray.data.read_videos`.

It decodes, analyses, crops and encodes the same frames with the same analyzer, and writes Parquet. It follows no face,
filters nothing, and writes no index. A clip that cannot be read ends it.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from icface.analyzers import create
from icface.arrays import Picture
from icface.crop import CropRule, crop_image
from icface.images import encode_jpeg

SIZE = 128
BATCH = 8


class Crops:
    """A batch of frames -> the face in each as JPEG; None where there is no face."""

    def __init__(self) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.analyzer = create("mediapipe")
        self.rule = CropRule(smoothing_seconds=0)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One frame at a time: a batch holds frames of several clips, and of several sizes."""
        frames: Iterable[Picture] = batch["frame"]
        return {
            "frame_index": batch["frame_index"],
            "image": [self._crop(np.ascontiguousarray(frame)) for frame in frames],
        }

    def _crop(self, frame: Picture) -> bytes | None:
        (faces,) = self.analyzer.analyze(frame[None], [0], "")
        if not faces:
            return None
        height, width = frame.shape[:2]
        (square,) = self.rule.squares(faces[0].box[None], 25, width, height)
        return encode_jpeg(crop_image(frame, square, SIZE))


def ray_data(paths: list[str], every: int, workers: int, folder: str) -> None:
    """`read_videos`, a pool of actors, `write_parquet` into `folder`."""
    import ray

    from pipelines.cluster import connect

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray reads it by this name
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers do not find benchmarks/
    with connect("local", workers):
        ray.data.DataContext.get_current().enable_progress_bars = False
        frames = ray.data.read_videos(paths)
        if every > 1:
            frames = frames.filter(lambda row: row["frame_index"] % every == 0)
        # Half a core each: the other half is for the tasks that decode.
        pool = ray.data.ActorPoolStrategy(size=workers)
        frames.map_batches(Crops, batch_size=BATCH, compute=pool, num_cpus=0.5).write_parquet(folder)
