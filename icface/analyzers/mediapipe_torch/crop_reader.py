"""Reading stored or generated crops: action units, pose and landmarks, differentiable, without a detector."""

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from icface.analyzers.landmarks import IBUG_FROM_MESH
from icface.analyzers.mediapipe_torch.attributes import action_units_of, pose_of
from icface.analyzers.mediapipe_torch.geometry import FaceGeometry
from icface.analyzers.mediapipe_torch.network import TfliteNetwork, at_least_float32
from icface.analyzers.mediapipe_torch.task import load_task
from icface.attributes import AU_RANGE
from icface.pixels import cubic_matrix

BLENDSHAPE_POINTS = [
    *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78),
    *(80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152),
    *(153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246),
    *(249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312),
    *(314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381),
    *(382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466),
    *range(468, 478),
]
"""The 146 of 478 mesh points that the blendshape network is given (MediaPipe's face_blendshapes_graph)."""
NETWORK_SIZE = 256
"""Pixels a side of what the landmark network sees."""
CROP_HEIGHT = 0.6
"""Side of a crop over the frame's height that the pose of a crop is computed with; see `CropReader`."""


class CropReading(NamedTuple):
    """What was read off B crops, float32 (float64 when the reader and the images are)."""

    attributes: Tensor
    """(B, 20) in the order of `ATTRIBUTE_NAMES`: pose in radians, AUs clipped to 0..5, NaN where not measured."""
    unclipped: Tensor
    """(B, 20) the same before clipping: gradients reach a unit that is read below 0."""
    blendshapes: Tensor
    """(B, 52) 0..1 in MediaPipe's order."""
    mesh: Tensor
    """(B, 478, 3) MediaPipe's points as fractions of the crop; z in the same unit, smaller towards the camera."""
    landmarks: Tensor
    """(B, 68, 2) iBUG points as fractions of the crop."""
    presence: Tensor
    """(B,) logit that a face is there; MediaPipe asks for 0 or more."""


_READERS: dict[tuple[str | None, torch.device, torch.dtype], "CropReader"] = {}
"""Those that `read_crops` has made."""


def read_crops(images: Tensor, weights: str | Path | None = None) -> CropReading:
    """Action units, pose and landmarks of face crops, without a detector, with gradients to the pixels.

    `images` (B, 3, S, S) float in [-1, 1], RGB, on any device, faces in the position that `icface.crop` gives them.
    `weights`: a face_landmarker.task, by default fetched, read once for each device. Raises IcfaceError as `load_task`
    does. `CropReader`, a module that does the same, says how results are meant.

    >>> reading = read_crops(torch.zeros(2, 3, 128, 128))  # doctest: +SKIP
    >>> reading.attributes.shape, reading.landmarks.shape  # doctest: +SKIP
    (torch.Size([2, 20]), torch.Size([2, 68, 2]))
    """
    kind = torch.promote_types(images.dtype, torch.float32)
    key = (None if weights is None else str(weights), images.device, kind)
    reader = _READERS.get(key)
    if reader is None:
        # Tensors that are made in inference mode can never be used with gradients.
        with torch.inference_mode(False):
            reader = _READERS[key] = CropReader(weights).to(images.device, kind)
    reading: CropReading = reader(images)
    return reading


class CropReader(nn.Module):
    """MediaPipe's landmark and blendshape networks on crops, frozen and differentiable.

    No detector and no rotation: a crop that `icface.crop` cut shows the face where the landmark network expects it.
    MediaPipe computes the pose with the face's place in the frame, which a crop does not tell. Here every face stands
    in the middle of a frame, `CROP_HEIGHT` of its height. So the pose of a face at the frame's border is off by some
    degrees, the same for all of its track. Compare a made crop's pose with that read off the driving crop.

    >>> reader = CropReader()  # doctest: +SKIP
    >>> reading = reader(images)  # (B, 3, S, S) in [-1, 1], with or without gradients  # doctest: +SKIP
    >>> reading.attributes.shape  # doctest: +SKIP
    torch.Size([8, 20])

    The weights are buffers that no state dict holds: no optimiser, checkpoint or average of weights finds them. Under
    autocast the convolutions run in its type, what follows the landmarks in float32. `torch.compile` takes it whole.
    """

    points: Tensor
    middle: Tensor
    ibug: Tensor

    def __init__(self, weights: str | Path | None = None) -> None:
        """`weights`: a face_landmarker.task, by default fetched. Raises IcfaceError as `load_task` does."""
        super().__init__()
        task = load_task(weights)
        self.landmarker = TfliteNetwork(task.graphs["face_landmarks_detector"])
        self.blendshapes = TfliteNetwork(task.graphs["face_blendshapes"])
        self.geometry = FaceGeometry(task)
        self.register_buffer("points", torch.tensor(BLENDSHAPE_POINTS), persistent=False)
        self.register_buffer("middle", torch.tensor([0.5, 0.5, 0.0]), persistent=False)
        self.register_buffer("ibug", torch.from_numpy(IBUG_FROM_MESH), persistent=False)

    def forward(self, images: Tensor) -> CropReading:
        """Read `images` (B, 3, S, S) float in [-1, 1], square, of any size S; they are resized to 256."""
        pictures = at_least_float32(images)
        if images.shape[-1] > NETWORK_SIZE:
            size = (NETWORK_SIZE, NETWORK_SIZE)
            pictures = functional.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)
        elif images.shape[-1] < NETWORK_SIZE:
            enlarge = cubic_matrix(images.shape[-1], NETWORK_SIZE, images.device).to(pictures.dtype)
            with torch.autocast(images.device.type, enabled=False):
                pictures = enlarge @ pictures @ enlarge.T
        mesh, presence, _ = self.landmarker((pictures.permute(0, 2, 3, 1) + 1) / 2)
        with torch.autocast(images.device.type, enabled=False):
            mesh = mesh.reshape(-1, 478, 3)
            (blendshapes,) = self.blendshapes(mesh[:, self.points, :2])
            mesh = mesh / NETWORK_SIZE
            centred = (mesh - self.middle) * CROP_HEIGHT
            pose = pose_of(self.geometry(centred)[1])
            landmarks = mesh[:, self.ibug, :2]
            unclipped = torch.cat([pose, action_units_of(blendshapes, pose, landmarks)], dim=1)
            attributes = torch.cat([pose, unclipped[:, 3:].clamp(0, AU_RANGE)], dim=1)
        return CropReading(
            attributes=attributes,
            unclipped=unclipped,
            blendshapes=blendshapes,
            mesh=mesh,
            landmarks=landmarks,
            presence=presence.flatten(),
        )
