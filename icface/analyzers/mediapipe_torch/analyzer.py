"""The analyzer `mediapipe-torch`: MediaPipe's Face Landmarker in batches, on the CPU or a GPU."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from icface.analyzers.blendshapes import MAPPING_VERSION, MEASURES, attributes_from_blendshapes
from icface.analyzers.enlarging import SMALLEST, enlarged
from icface.analyzers.face import Face
from icface.analyzers.landmarks import IBUG_FROM_MESH
from icface.analyzers.mediapipe_torch.crop_reader import BLENDSHAPE_POINTS, NETWORK_SIZE
from icface.analyzers.mediapipe_torch.detector import (
    DETECTOR_SIZE,
    anchors,
    detections,
    face_regions,
    letterboxed,
)
from icface.analyzers.mediapipe_torch.geometry import FaceGeometry, matrices
from icface.analyzers.mediapipe_torch.network import TfliteNetwork
from icface.analyzers.mediapipe_torch.regions import (
    Regions,
    around_landmarks,
    enlarged_by_torch,
    pictures_by_opencv,
    pictures_by_torch,
)
from icface.analyzers.mediapipe_torch.task import load_task
from icface.errors import IcfaceError, first_line
from icface.pixels import to_range

GRAPH_VERSION = 1
"""Raised whenever the same weights give other landmarks."""


class MediaPipeTorchAnalyzer:
    """Landmarks, blendshapes and pose of the faces in each frame, as `mediapipe` measures them, in batches.

    A frame's result depends on its neighbours only with `detect_every` above 1. The size of a batch moves landmarks
    by less than 0.01 px and blendshapes by less than 1e-4 (sums are done in another order).
    """

    name = "mediapipe-torch"
    measures = MEASURES

    def __init__(
        self,
        weights: str | Path | None = None,
        faces: int = 3,
        batch_size: int = 32,
        device: str = "cpu",
        detect_every: int = 1,
    ) -> None:
        """`weights`: a face_landmarker.task, by default fetched; `faces`: at most so many a frame are found.

        `device`: torch's name of it. `detect_every`: the detector looks at each Nth frame of a batch, and where a
        face was lost; in between faces are looked for where they were. Raises IcfaceError when weights or device are
        not at hand.
        """
        if detect_every < 1:
            raise IcfaceError(f"detect_every must be at least 1, not {detect_every}")
        self.batch_size = -(-batch_size // detect_every) * detect_every
        self.device = torch.device(device)
        self._faces, self.detect_every = faces, detect_every
        task = load_task(weights)
        try:
            networks = [TfliteNetwork(task.graphs[name]).to(self.device) for name in task.graphs]
        except (RuntimeError, AssertionError) as error:
            raise IcfaceError(f"the device {device} cannot be used here ({first_line(error)}); use the CPU") from None
        self._detector, self._landmarker, self._blendshapes = networks
        self._geometry = FaceGeometry(task).to(self.device)
        self._anchors = anchors().to(self.device)
        self._ibug = torch.from_numpy(IBUG_FROM_MESH).to(self.device)
        self.fingerprint = (
            f"mediapipe-torch graph {GRAPH_VERSION}, weights {task.sha256[:16]}, mapping {MAPPING_VERSION}"
        )

    def analyze(self, frames: npt.NDArray[np.uint8], frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        """Faces of each frame (N, H, W, 3) uint8 RGB, largest first; see `Analyzer`."""
        if not len(frames):
            return []
        height, width = frames.shape[1:3]
        with torch.inference_mode():
            where, points, shapes, transforms = self._look(np.ascontiguousarray(frames))
        landmarks = points[:, self._ibug, :2].cpu().numpy() * np.array([width, height], np.float32)
        blendshapes, face_matrices = shapes.cpu().numpy(), transforms.cpu().numpy()
        attributes = attributes_from_blendshapes(blendshapes, face_matrices, landmarks)
        found: list[list[Face]] = [[] for _ in frames]
        for place, frame in enumerate(where.tolist()):
            found[frame].append(
                Face(
                    landmarks=landmarks[place],
                    attributes=attributes[place],
                    confidence=1.0,
                    blendshapes=blendshapes[place],
                    face_matrix=face_matrices[place],
                )
            )
        return [sorted(faces, key=lambda face: -float(face.box[2] * face.box[3])) for faces in found]

    def close(self) -> None:
        """Let go of the networks."""
        del self._detector, self._landmarker, self._blendshapes

    def _look(self, frames: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of each face: its frame, mesh (478, 3) in fractions of the frame, blendshapes and face matrix."""
        source: npt.NDArray[np.uint8] | Tensor
        if self.device.type == "cpu":
            small = min(frames.shape[1:3]) < SMALLEST
            source = np.stack([enlarged(frame) for frame in frames]) if small else frames
        else:
            source = enlarged_by_torch(torch.from_numpy(frames).to(self.device))
        height, width = source.shape[1:3]
        where, points = self._follow(source, len(frames), width, height)
        if not len(where):
            return where, points, points.new_empty(0, 52), points.new_empty(0, 16)
        size = points.new_tensor([width, height])
        (shapes,) = self._blendshapes(points[:, BLENDSHAPE_POINTS, :2])
        centred = torch.cat([points[..., :2] - size / 2, points[..., 2:]], dim=-1) / height
        # z counts in widths, as x does.
        return where, points / points.new_tensor([width, height, width]), shapes, matrices(*self._geometry(centred))

    def _follow(
        self, frames: npt.NDArray[np.uint8] | Tensor, count: int, width: int, height: int
    ) -> tuple[Tensor, Tensor]:
        """Frame (N,) and mesh (N, 478, 3) of each face; stretches of `detect_every` frames side by side."""
        starts = torch.arange(0, count, self.detect_every, device=self.device)
        where, points = self._landmarks(frames, self._detect(frames, starts, width, height))
        parts = [(where, points)]
        for step in range(1, self.detect_every):
            now = starts + step
            now = now[now < count]
            there = where + 1 < count
            where, points = self._landmarks(frames, around_landmarks(where[there] + 1, points[there]))
            lost = now[~torch.isin(now, where)]
            if len(lost):
                again = self._landmarks(frames, self._detect(frames, lost, width, height))
                where, points = torch.cat([where, again[0]]), torch.cat([points, again[1]])
            parts.append((where, points))
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def _detect(self, frames: npt.NDArray[np.uint8] | Tensor, which: Tensor, width: int, height: int) -> Regions:
        """Where faces are in the frames `which`."""
        whole = letterboxed(len(which), width, height, self.device)
        whole = Regions(which, whole.centre, whole.size, whole.angle)
        # The detector takes -1..1.
        pictures = to_range(self._pictures(frames, whole, DETECTOR_SIZE, zeros=True))
        regressors, logits = self._detector(pictures)
        found, scores = detections(regressors, logits, self._anchors, self._faces)
        regions = face_regions(found, scores, width, height)
        return Regions(which[regions.frame], regions.centre, regions.size, regions.angle)

    def _landmarks(self, frames: npt.NDArray[np.uint8] | Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
        """Frame and mesh in pixels of those `regions` that hold a face."""
        meshes, presences = [torch.empty(0, 478, 3, device=self.device)], [torch.empty(0, device=self.device)]
        for start in range(0, len(regions), self.batch_size):
            part = regions[slice(start, start + self.batch_size)]
            pictures = self._pictures(frames, part, NETWORK_SIZE, zeros=False).float() / 255
            mesh, presence, _ = self._landmarker(pictures)
            meshes.append(part.project(mesh.reshape(-1, 478, 3) / NETWORK_SIZE))
            presences.append(presence.flatten())
        there = torch.cat(presences) > 0
        return regions.frame[there], torch.cat(meshes)[there]

    @staticmethod
    def _pictures(frames: npt.NDArray[np.uint8] | Tensor, regions: Regions, side: int, zeros: bool) -> Tensor:
        if isinstance(frames, Tensor):
            return pictures_by_torch(frames, regions, side, zeros)
        return pictures_by_opencv(frames, regions, side, zeros)
