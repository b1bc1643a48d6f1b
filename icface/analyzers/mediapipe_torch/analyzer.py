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
from icface.analyzers.mediapipe_torch.network import CPU_PICTURES, TfliteNetwork
from icface.analyzers.mediapipe_torch.regions import (
    Regions,
    around_landmarks,
    enlarged_by_torch,
    pictures_by_opencv,
    pictures_by_torch,
)
from icface.analyzers.mediapipe_torch.task import load_task
from icface.analyzers.second_look import Squares, look_again
from icface.arrays import Pictures
from icface.errors import IcfaceError, first_line
from icface.pixels import to_range

Frames = Pictures | Tensor
"""Frames (N, H, W, 3) uint8: an array on the CPU, a tensor on a GPU."""
GRAPH_VERSION = 1
"""Raised whenever the same weights give other landmarks."""


class MediaPipeTorchAnalyzer:
    """Landmarks, blendshapes and pose of the faces in each frame, as `mediapipe` measures them, in batches.

    A frame's result depends on its neighbours only with `detect_every` above 1, or where the second look finds its
    face (`second_look`). The size of a batch moves landmarks by less than 0.01 px and blendshapes by less than 1e-4
    (sums are done in another order). The confidence is the landmark network's that there is a face.
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

        `device`: torch's name of it. `detect_every`: the detector looks at each Nth frame of a batch, and where a face
        was lost. In between, faces are looked for where they were. Raises IcfaceError when weights or device are not at
        hand.
        """
        if detect_every < 1:
            raise IcfaceError(f"detect_every must be at least 1, not {detect_every}")
        self.batch_size = -(-batch_size // detect_every) * detect_every
        self.device = torch.device(device)
        self._faces_at_most, self.detect_every = faces, detect_every
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
            source = self._source(np.ascontiguousarray(frames))
            found = self._faces(*self._follow(source), source, frames.shape)

            def look(places: list[int], squares: Squares) -> list[list[Face]]:
                corners = torch.tensor(squares * (source.shape[2] / width), dtype=torch.float32, device=self.device)
                size = corners[:, 2:].expand(-1, 2)
                which = torch.tensor(places, device=self.device)
                seen = Regions(which, corners[:, :2] + size / 2, size, torch.zeros_like(size[:, 0]))
                regions, square = self._detect(source, seen)
                there, points, presences = self._landmarks(source, regions)
                return self._faces(square[there], points, presences, source, (len(places), height, width))

            return look_again(found, width, height, look)

    def close(self) -> None:
        """Let go of the networks."""
        del self._detector, self._landmarker, self._blendshapes

    def _source(self, frames: npt.NDArray[np.uint8]) -> Frames:
        """The frames on the device, enlarged where they are small."""
        if self.device.type == "cpu":
            small = min(frames.shape[1:3]) < SMALLEST
            return np.stack([enlarged(frame) for frame in frames]) if small else frames
        return enlarged_by_torch(torch.from_numpy(frames).to(self.device))

    def _faces(
        self, where: Tensor, points: Tensor, presences: Tensor, source: Frames, shape: tuple[int, ...]
    ) -> list[list[Face]]:
        """Faces of each place, largest first; `shape`: number of places, height and width that faces are given in.

        `where` (N,): each face's place; its mesh `points` (N, 478, 3) in pixels of `source`; `presences` (N,) logits.
        """
        found: list[list[Face]] = [[] for _ in range(shape[0])]
        if not len(where):
            return found
        height, width = source.shape[1:3]
        (shapes,) = self._blendshapes(points[:, BLENDSHAPE_POINTS, :2])
        # z counts in widths, as x does.
        centred = torch.cat([points[..., :2] - points.new_tensor([width, height]) / 2, points[..., 2:]], dim=-1)
        transforms = matrices(*self._geometry(centred / height))
        fractions = points[:, self._ibug, :2] / points.new_tensor([width, height])
        landmarks = fractions.cpu().numpy() * np.array([shape[2], shape[1]], np.float32)
        blendshapes, face_matrices = shapes.cpu().numpy(), transforms.cpu().numpy()
        attributes = attributes_from_blendshapes(blendshapes, face_matrices, landmarks)
        for index, (place, presence) in enumerate(zip(where.tolist(), presences.sigmoid().tolist(), strict=True)):
            found[place].append(
                Face(
                    landmarks=landmarks[index],
                    attributes=attributes[index],
                    confidence=presence,
                    blendshapes=blendshapes[index],
                    face_matrix=face_matrices[index],
                )
            )
        return [sorted(faces, key=lambda face: -float(face.box[2] * face.box[3])) for faces in found]

    def _follow(self, frames: Frames) -> tuple[Tensor, Tensor, Tensor]:
        """Frame (N,), mesh (N, 478, 3) and presence (N,) of each face.

        Stretches of `detect_every` frames are followed side by side.
        """
        count = len(frames)
        starts = torch.arange(0, count, self.detect_every, device=self.device)
        parts = [self._search(frames, starts)]
        for step in range(1, self.detect_every):
            now = starts + step
            now = now[now < count]
            where, points, _ = parts[-1]
            there = where + 1 < count
            regions = around_landmarks(where[there] + 1, points[there])
            kept, points, presences = self._landmarks(frames, regions)
            where = regions.frame[kept]
            lost = now[~torch.isin(now, where)]
            if len(lost):
                others, more, scores = self._search(frames, lost)
                where, points = torch.cat([where, others]), torch.cat([points, more])
                presences = torch.cat([presences, scores])
            parts.append((where, points, presences))
        where, points, presences = (torch.cat(columns) for columns in zip(*parts, strict=True))
        return where, points, presences

    def _search(self, frames: Frames, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Frame, mesh and presence of the faces that the detector finds in the frames `which`, each looked at whole."""
        whole = letterboxed(len(which), frames.shape[2], frames.shape[1], self.device)
        regions, _ = self._detect(frames, Regions(which, whole.centre, whole.size, whole.angle))
        kept, points, presences = self._landmarks(frames, regions)
        return regions.frame[kept], points, presences

    def _detect(self, frames: Frames, seen: Regions) -> tuple[Regions, Tensor]:
        """Where faces are in the upright squares `seen`, and in which of them each is."""
        # The detector takes -1..1.
        pictures = to_range(self._pictures(frames, seen, DETECTOR_SIZE, zeros=True))
        regressors, logits = self._detector(pictures)
        regions = face_regions(*detections(regressors, logits, self._anchors, self._faces_at_most), seen)
        square = regions.frame
        return Regions(seen.frame[square], regions.centre, regions.size, regions.angle), square

    def _landmarks(self, frames: Frames, regions: Regions) -> tuple[Tensor, Tensor, Tensor]:
        """Which `regions` hold a face, its mesh in pixels, and the logit that there is one."""
        meshes, presences = [torch.empty(0, 478, 3, device=self.device)], [torch.empty(0, device=self.device)]
        most = min(self.batch_size, CPU_PICTURES) if self.device.type == "cpu" else self.batch_size
        for start in range(0, len(regions), most):
            part = regions[slice(start, start + most)]
            pictures = self._pictures(frames, part, NETWORK_SIZE, zeros=False) / 255
            mesh, presence, _ = self._landmarker(pictures)
            meshes.append(part.project(mesh.reshape(-1, 478, 3) / NETWORK_SIZE))
            presences.append(presence.flatten())
        presence = torch.cat(presences)
        there = (presence > 0).nonzero()[:, 0]
        return there, torch.cat(meshes)[there], presence[there]

    @staticmethod
    def _pictures(frames: Frames, regions: Regions, side: int, zeros: bool) -> Tensor:
        if isinstance(frames, Tensor):
            return pictures_by_torch(frames, regions, side, zeros)
        return pictures_by_opencv(frames, regions, side, zeros)
