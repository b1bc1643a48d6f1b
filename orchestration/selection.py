"""Which model of a training is kept: `best:METRIC`. Light to import: the command line reads it."""

import math
from dataclasses import dataclass
from typing import Literal

SELECTABLE: dict[str, Literal["lower", "higher", "nearer to 1"]] = {
    **dict.fromkeys(("face_l1", "l1", "eyes_l1", "mouth_l1", "landmark_distance"), "lower"),
    **dict.fromkeys(("face_psnr", "psnr", "face_ssim", "ssim", "detected", "unit_r", "icc"), "higher"),
    **dict.fromkeys(("sharpness", "gain", "gain_pose"), "nearer to 1"),
    **dict.fromkeys(("pose_error", "geodesic", "error", "neutral_leak"), "lower"),
    **dict.fromkeys(("zero_edit_l1", "zero_edit_units", "zero_edit_pose"), "lower"),
}
"""The metrics of an evaluation beside the training, and which way each is better (`icface.evaluation.METRICS`)."""
BEST = "best:"


@dataclass(frozen=True)
class Selection:
    """The model whose METRIC is best is the one to keep."""

    metric: str

    @classmethod
    def parse(cls, keep: str) -> "Selection":
        """Read `best:METRIC`. Raises ValueError with the metrics that there are.

        >>> Selection.parse("best:face_l1").metric
        'face_l1'
        """
        metric = keep.removeprefix(BEST)
        if not keep.startswith(BEST) or metric not in SELECTABLE:
            raise ValueError(f"--keep {keep}: write {BEST}METRIC, with one of {', '.join(SELECTABLE)}")
        return cls(metric)

    def is_better(self, value: float | None, than: float | None) -> bool:
        """Whether a value is better than another one; what could not be measured (None) never is.

        >>> Selection("sharpness").is_better(0.9, than=1.2), Selection("face_l1").is_better(0.2, than=None)
        (True, True)
        """
        if value is None or not math.isfinite(value):
            return False
        return than is None or self._distance(value) < self._distance(than)

    def _distance(self, value: float) -> float:
        """Smaller is better."""
        way = SELECTABLE[self.metric]
        return abs(value - 1) if way == "nearer to 1" else value if way == "lower" else -value
