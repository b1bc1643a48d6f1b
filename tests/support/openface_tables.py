"""Tables as OpenFace writes them, with random labels."""

import numpy as np
import pandas as pd

from icface.analyzers.openface_csv import LANDMARK_COLUMNS
from icface.attributes import ACTION_UNIT_NAMES


def openface_table(frames: int, seed: int = 4) -> pd.DataFrame:
    """OpenFace's columns for a face that stands in the middle of the picture."""
    rng = np.random.default_rng(seed)
    columns: dict[str, np.ndarray] = {
        "frame": np.arange(1, frames + 1),
        "confidence": np.full(frames, 0.97),
        "success": np.ones(frames, int),
    }
    for name in ("pose_Rx", "pose_Ry", "pose_Rz"):
        columns[name] = rng.uniform(-0.4, 0.4, frames)
    for name, value in zip(LANDMARK_COLUMNS, rng.uniform(150, 290, len(LANDMARK_COLUMNS)), strict=True):
        columns[name] = np.full(frames, value)
    for name in ACTION_UNIT_NAMES:
        columns[f"{name}_r"] = rng.uniform(0, 5, frames)
    return pd.DataFrame(columns)
