"""py-feat 2.1.5's detectors: all 17 AUs, where its weights and PyPI's default torch are at hand (extra `pyfeat`).

py-feat is imported when an analyzer is made, never with this module. Its weights come from the Hugging Face hub at
first use, or from a folder laid out as the hub's cache: `models--py-feat--NAME/refs/main` holds a revision,
`models--py-feat--NAME/snapshots/REVISION/` its files. Those of Detectorv2 are for research only.
"""

import hashlib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from icface.analyzers.blendshapes import BLENDSHAPE_NAMES
from icface.analyzers.face import Face
from icface.analyzers.landmarks import IBUG_FROM_MESH
from icface.attributes import ACTION_UNIT_NAMES, ATTRIBUTE_NAMES, AU_RANGE
from icface.errors import IcfaceError, first_line
from icface.weights import sha256_of

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
"""What is neither needed nor wanted: emotion, gaze, and above all embeddings that identify a person. Detectorv2 is one
network for all the rest: its emotion and gaze are computed with the action units, and dropped."""
WEIGHTS: dict[Detector, dict[str, tuple[str, ...]]] = {
    "v1": {
        "retinaface_r34": ("model.safetensors",),
        "mobilefacenet": ("mobilefacenet_model_best.pth.tar",),
        "xgb_au": ("xgb_au_classifier_v2.skops",),
        "pose_mlp_v2": ("pose_mlp_v2.safetensors", "pose_mlp_v2.json"),
    },
    "v2": {
        "retinaface_r34": ("model.safetensors",),
        "face_multitask_v2": ("face_multitask_v28.safetensors",),
    },
    "mp": {
        "retinaface_r34": ("model.safetensors",),
        "mp_facemesh_v2": ("face_landmarks_detector.pt",),
        "mp_blendshapes": ("face_blendshapes.pth",),
        "bs_to_au": ("bs_to_au_pls_v2.npz",),
    },
}
"""The files that a detector reads, by their repository under `py-feat/` on the hub."""

MAPPING_VERSION = 1
"""Raised whenever the same table gives other attributes."""
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
        self._detector, version, sha256 = _load(detector, device, weights)
        self.fingerprint = f"py-feat {version} Detector {detector}, weights {sha256[:16]}, mapping {MAPPING_VERSION}"

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
    # Detectorv1 has none.
    has_shapes = set(BLENDSHAPE_NAMES) <= set(table.columns)
    shapes = table[list(BLENDSHAPE_NAMES)].to_numpy(np.float32) if has_shapes else None
    scores = table["FaceScore"].to_numpy(np.float64)
    for row, frame in enumerate(table["frame"].to_numpy(np.int64)):
        if scores[row] > 0 and np.isfinite(landmarks[row]).all():
            faces[frame].append(
                Face(
                    landmarks=landmarks[row],
                    attributes=attributes[row],
                    confidence=float(min(scores[row], 1.0)),
                    blendshapes=None if shapes is None else shapes[row],
                )
            )
    return [sorted(found, key=lambda face: -float(face.box[2] * face.box[3])) for found in faces]


def attributes_from_table(table: pd.DataFrame, detector: Detector) -> npt.NDArray[np.float32]:
    """(N, 20) float32 attributes of py-feat's rows: radians with OpenFace's signs, AUs 0..5.

    py-feat's AUs are probabilities: 5 x them has OpenFace's range, not its calibration. Detectorv1 and v2 count pitch
    up, yaw and roll to the person's right as positive. OpenFace counts pitch down, yaw to the right and roll to the
    left. MPDetector's Roll and Yaw columns are swapped (yaw = -Roll, roll = -Yaw: r .97 and .98 against OpenFace).
    """
    pitch, roll, yaw = (table[name].to_numpy(np.float64) for name in ("Pitch", "Roll", "Yaw"))
    pose = (pitch, -roll, -yaw) if detector == "mp" else (-pitch, yaw, -roll)
    units = [
        np.clip(AU_RANGE * table[EYES_CLOSED if name == "AU45" else name].to_numpy(np.float64), 0, AU_RANGE)
        for name in ACTION_UNIT_NAMES
    ]
    return np.column_stack([*pose, *units]).astype(np.float32)


def _load(detector: Detector, device: str, weights: str | None) -> tuple[Any, str, str]:
    """The detector, py-feat's version, and the sha256 of all its weights together."""
    if weights is not None:
        if not Path(weights).is_dir():
            raise IcfaceError(f"{weights} is not a folder of py-feat weights (models--py-feat--NAME/... inside)")
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported
    os.environ.setdefault("TQDM_DISABLE", "1")  # Detectorv1 draws a bar for every batch, asked or not
    module, name = DETECTORS[detector]
    try:
        made = getattr(import_module(module), name)
        version = str(import_module("feat.version").__version__)
    except (ImportError, OSError, RuntimeError) as error:
        raise IcfaceError(
            f"py-feat cannot be used here ({first_line(error)}): `make setup-pyfeat` in the "
            "project makes an environment of its own with it, or use --analyzer mediapipe"
        ) from None
    folder = weights or str(import_module("feat.utils.io").get_resource_path())
    files = _weight_files(detector, folder, may_fetch=weights is None)
    if weights is not None:
        # py-feat looks for weights inside its own installation, whatever HF_HOME says, and for the canonical face too.
        for key, loaded in list(sys.modules.items()):
            if key.startswith("feat.") and key != "feat.utils.face_pose" and hasattr(loaded, "get_resource_path"):
                loaded.get_resource_path = lambda: weights  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of its own defaults
            found = made(device=device, **HEADS_OFF[detector])
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise IcfaceError(
            f"py-feat's weights in {folder} cannot be loaded ({first_line(error)}): "
            "fetch them again from huggingface.co"
        ) from None
    digest = hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()
    return found, version, digest


def _weight_files(detector: Detector, folder: str, may_fetch: bool) -> list[Path]:
    """Every file that the detector reads, fetched from the hub into `folder` if it may be and is not there."""
    hub = import_module("huggingface_hub")
    files = []
    for repository, names in WEIGHTS[detector].items():
        for name in names:
            try:
                path = hub.hf_hub_download(
                    f"py-feat/{repository}", name, cache_dir=folder, local_files_only=not may_fetch
                )
            except (OSError, ValueError, RuntimeError) as error:
                place = f"models--py-feat--{repository}/snapshots/REVISION/{name}"
                if not may_fetch:
                    raise IcfaceError(
                        f"{folder} lacks py-feat's weights {place} (REVISION is what refs/main beside it says): copy "
                        "them there, or leave --pyfeat-weights out where huggingface.co can be reached"
                    ) from None
                raise IcfaceError(
                    f"py-feat's weights {repository}/{name} cannot be fetched from huggingface.co "
                    f"({first_line(error)}): let this machine reach it once, or give --pyfeat-weights a "
                    f"folder with {place} in it"
                ) from None
            files.append(Path(path))
    return files
