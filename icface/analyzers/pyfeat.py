"""py-feat 2.1.5's detectors: all 17 AUs, where its weights and PyPI's default torch are at hand (extra `pyfeat`).

py-feat is imported when an analyzer is made, never with this module. Its weights come from the Hugging Face hub at
first use, or from a folder laid out as the hub's cache (`models--py-feat--NAME/...`). Those of Detectorv2 are for
research only.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.analyzers.face import Face
from icface.analyzers.landmarks import IBUG_FROM_MESH
from icface.attributes import ACTION_UNIT_NAMES, ATTRIBUTE_NAMES, AU_RANGE
from icface.errors import IcfaceError

Detector = Literal["v1", "v2", "mp"]
DETECTORS: dict[Detector, tuple[str, str]] = {
    "v1": ("feat.detector", "Detectorv1"),
    "v2": ("feat.detector_v2", "Detectorv2"),
    "mp": ("feat.MPDetector", "MPDetector"),
}
HEADS_OFF: dict[Detector, dict[str, None]] = {
    "v1": {"emotion_model": None, "identity_model": None, "gaze_model": None},
    "v2": {"identity_model": None},
    "mp": {"emotion_model": None, "identity_model": None, "gaze_model": None},
}
"""What is neither needed nor wanted: emotion, gaze, and above all embeddings that identify a person."""

MAPPING_VERSION = 1
EYES_CLOSED = "AU43"
"""py-feat has no blink, AU45; closed eyes are the nearest."""


class PyFeatAnalyzer:
    """One of py-feat's detectors on frames in memory.

    `detector`: `v1` suits a CPU, `v2` a GPU; `mp` is MediaPipe's mesh by way of torch.
    Raises IcfaceError when py-feat cannot be imported or its weights are not at hand.
    """

    name = "pyfeat"
    measures = frozenset(ATTRIBUTE_NAMES)

    def __init__(
        self, detector: Detector = "v1", device: str = "cpu", weights: str | None = None, batch_size: int = 16
    ) -> None:
        """`device`: torch's name of it; `weights`: a folder laid out as the hub's cache, for use without a network."""
        if detector not in get_args(Detector):
            raise IcfaceError(f"py-feat detector {detector!r} is not one of {', '.join(get_args(Detector))}")
        self.batch_size = batch_size
        self._kind: Detector = detector
        self._detector, version = _load(detector, device, weights)
        self.fingerprint = f"py-feat {version} Detector {detector}, mapping {MAPPING_VERSION}"

    def analyze(self, frames: npt.NDArray[np.uint8], frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        """Faces of each frame (N, H, W, 3) uint8 RGB, largest first; see `Analyzer`."""
        import torch

        images = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
        table = self._detector.detect(images, data_type="tensor", batch_size=len(frames), progress_bar=False)
        return faces_from_table(pd.DataFrame(table), len(frames), self._kind)

    def close(self) -> None:
        """Let go of the networks."""
        self._detector = None


def faces_from_table(table: pd.DataFrame, count: int, detector: Detector) -> list[list[Face]]:
    """Faces in each of `count` frames, largest first, out of py-feat's result table.

    The table has one row a face; `frame` counts from 0; a frame without a face has a row whose FaceScore is 0 or NaN.
    """
    faces: list[list[Face]] = [[] for _ in range(count)]
    attributes = attributes_from_table(table, detector)
    points = IBUG_FROM_MESH if detector == "mp" else np.arange(68)
    columns = [f"{axis}_{point}" for point in points for axis in "xy"]
    landmarks = table[columns].to_numpy(np.float32).reshape(-1, 68, 2)
    scores = table["FaceScore"].to_numpy(np.float64)
    for row, frame in enumerate(table["frame"].to_numpy(np.int64)):
        if scores[row] > 0 and np.isfinite(landmarks[row]).all():
            faces[frame].append(
                Face(landmarks=landmarks[row], attributes=attributes[row], confidence=float(min(scores[row], 1.0)))
            )
    return [sorted(found, key=lambda face: -float(face.box[2] * face.box[3])) for found in faces]


def attributes_from_table(table: pd.DataFrame, detector: Detector) -> npt.NDArray[np.float32]:
    """(N, 20) float32 attributes of py-feat's rows: radians with OpenFace's signs, AUs 0..5.

    py-feat's AUs are probabilities: 5 x them has OpenFace's range, not its calibration. Detectorv1 and v2 count
    pitch up, yaw and roll to the person's right as positive; OpenFace pitch down, yaw to the right and roll to the
    left. MPDetector's Roll and Yaw columns are swapped (yaw = -Roll, roll = -Yaw: r .97 and .98 against OpenFace).
    """
    pitch, roll, yaw = (table[name].to_numpy(np.float64) for name in ("Pitch", "Roll", "Yaw"))
    pose = (pitch, -roll, -yaw) if detector == "mp" else (-pitch, yaw, -roll)
    units = [
        np.clip(AU_RANGE * table[EYES_CLOSED if name == "AU45" else name].to_numpy(np.float64), 0, AU_RANGE)
        for name in ACTION_UNIT_NAMES
    ]
    return np.column_stack([*pose, *units]).astype(np.float32)


def _load(detector: Detector, device: str, weights: str | None) -> tuple[Any, str]:
    """The detector and py-feat's version."""
    if weights is not None:
        if not Path(weights).is_dir():
            raise IcfaceError(f"{weights} is no folder of py-feat weights (models--py-feat--NAME/... inside)")
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported
    module, name = DETECTORS[detector]
    try:
        made = getattr(import_module(module), name)
        version = str(import_module("feat.version").__version__)
    except (ImportError, OSError, RuntimeError) as error:
        raise IcfaceError(
            f"py-feat cannot be used here ({str(error).splitlines()[0]}): install icface[pyfeat] with PyPI's default "
            "torch and FFmpeg in an environment of its own, or use --analyzer mediapipe"
        ) from None
    if weights is not None:
        # py-feat keeps its weights inside its own installation, whatever HF_HOME says.
        for loaded in [module for key, module in sys.modules.items() if key.startswith("feat.")]:
            if hasattr(loaded, "get_resource_path"):
                loaded.get_resource_path = lambda: weights  # type: ignore[attr-defined]
    try:
        return made(device=device, **HEADS_OFF[detector]), version
    except (OSError, ValueError, RuntimeError) as error:
        raise IcfaceError(
            f"py-feat's weights are not at hand ({str(error).splitlines()[0]}): let it reach huggingface.co once, or "
            "name a folder laid out as the hub's cache"
        ) from None
