"""How a training pair is looked at: mirrored or not, turned in the picture's plane or not.

A view changes the picture, its labels and its landmarks together. A flip that left yaw and roll alone, or a turn that
left the pose alone, would teach the networks a wrong sign.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from icface.analyzers.landmarks import MIRRORED
from icface.analyzers.pose import rolled
from icface.attributes import ATTRIBUTE_NAMES, LABEL_NAMES, POSE_NAMES, SIDED_UNITS, AttributeSchema, Seen, sides_of
from icface.training.config import DataConfig

_POSE = [ATTRIBUTE_NAMES.index(name) for name in POSE_NAMES]
_MIRRORED = [ATTRIBUTE_NAMES.index(name) for name in ("pose_yaw", "pose_roll")]
_SIDES = [LABEL_NAMES.index(name) for unit in SIDED_UNITS for name in sides_of(unit)]
_OTHER_SIDES = [LABEL_NAMES.index(name) for unit in SIDED_UNITS for name in reversed(sides_of(unit))]


def seen_in_training(schema: AttributeSchema, config: DataConfig) -> AttributeSchema:
    """The data set's schema with what flips and turns add to the values that occur (`Attribute.seen`).

    Flips make what one side of a face shows, the other side's too.
    """
    seen = {attribute.name: attribute.seen for attribute in schema.attributes if attribute.seen is not None}
    for unit in SIDED_UNITS if config.flip else ():
        both = [seen[side] for side in sides_of(unit) if side in seen]
        if both:
            ends = {"min": min(each.min for each in both), "max": max(each.max for each in both)}
            middle = {name: float(np.mean([getattr(each, name) for each in both])) for name in ("p01", "p50", "p99")}
            seen |= dict.fromkeys(sides_of(unit), Seen(**ends, **middle))
    for name in ("pose_yaw", "pose_roll"):
        if name in seen:
            extra = np.deg2rad(config.rotate) if name == "pose_roll" else 0.0
            own = seen[name]
            low, p01, p99, high = own.min - extra, own.p01 - extra, own.p99 + extra, own.max + extra
            if config.flip:
                high, p99 = max(high, -low), max(p99, -p01)
                low, p01 = -high, -p99
            bound = schema.attributes[schema.index(name)]
            low, p01, p99, high = (float(np.clip(value, bound.low, bound.high)) for value in (low, p01, p99, high))
            seen[name] = Seen(min=low, p01=p01, p50=min(max(own.p50, p01), p99), p99=p99, max=high)
    return schema.with_seen(seen)


def turned(drawn: npt.NDArray[np.float64], largest: float) -> npt.NDArray[np.float64]:
    """Random turns, radians, out of numbers in 0..1; `largest` is in degrees.

    Half of the frames stay as they are: turning blurs, and the networks would learn that real pictures are blurred.
    """
    signed = 2 * drawn - 1
    return np.asarray(np.deg2rad(largest * np.sign(signed) * np.maximum(2 * np.abs(signed) - 1, 0)))


@dataclass(frozen=True)
class View:
    """One way to look at a frame."""

    flip: bool
    """Mirror left and right."""
    turn: float
    """Clockwise turn after the flip, radians."""

    def picture(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The frame (S, S, 3) uint8 seen this way; what comes in from outside is a reflection."""
        if self.flip:
            rgb = np.asarray(cv2.flip(rgb, 1), np.uint8)  # ten times as fast as a copy of rgb[:, ::-1]
        if self.turn:
            size = len(rgb)
            middle = ((size - 1) / 2, (size - 1) / 2)
            # OpenCV counts counterclockwise degrees.
            matrix = cv2.getRotationMatrix2D(middle, -float(np.rad2deg(self.turn)), 1.0)
            rgb = np.asarray(
                cv2.warpAffine(
                    rgb,
                    matrix,
                    (size, size),
                    flags=cv2.INTER_LANCZOS4,  # of a 64 px face, linear turning leaves half of the sharpness, this 0.9
                    borderMode=cv2.BORDER_REFLECT,
                ),
                np.uint8,
            )
        return rgb

    def labels(self, labels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Raw labels (20,), or (36,) with sides, of the frame seen this way."""
        labels = labels.copy()
        if self.flip:
            labels[_MIRRORED] *= -1
            if len(labels) == len(LABEL_NAMES):
                labels[_SIDES] = labels[_OTHER_SIDES]
        if self.turn:
            labels[_POSE] = rolled(labels[None, _POSE], self.turn)[0]
        return labels

    def landmarks(self, landmarks: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Landmarks (68, 2), fractions of the picture, of the frame seen this way, in iBUG order again."""
        if self.flip:
            landmarks = landmarks[MIRRORED]
            landmarks[:, 0] = 1 - landmarks[:, 0]
        if self.turn:
            cos, sin = np.cos(self.turn), np.sin(self.turn)
            landmarks = (landmarks - 0.5) @ np.array([[cos, sin], [-sin, cos]]) + 0.5
        return landmarks.astype(np.float32)
