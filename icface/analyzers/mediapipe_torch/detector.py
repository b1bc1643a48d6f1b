"""The face detector's numbers as rectangles: anchors, scores, and boxes that are averaged where they overlap.

The numbers are those of MediaPipe's published graph (face_detector_graph): 896 anchors of a 128 px picture and a least
score of 0.5. Boxes that overlap by more than half are averaged by their scores.
"""

import torch
from torch import Tensor

from icface.analyzers.mediapipe_torch.regions import Regions, around_boxes

DETECTOR_SIZE = 128
GRIDS = ((16, 2), (8, 6))
"""Cells a side, and anchors a cell, of the network's two resolutions."""
LEAST_SCORE = 0.5
LARGEST_LOGIT = 100.0
LARGEST_OVERLAP = 0.5
"""Intersection over union beyond which two boxes are one face."""


def anchors() -> Tensor:
    """(896, 2) x and y of the anchors' centres, fractions of the picture."""
    centres = []
    for cells, number in GRIDS:
        line = (torch.arange(cells) + 0.5) / cells
        y, x = torch.meshgrid(line, line, indexing="ij")
        centres.append(torch.stack([x, y], dim=-1).reshape(-1, 2).repeat_interleave(number, dim=0))
    return torch.cat(centres)


def letterboxed(count: int, width: int, height: int, device: torch.device) -> Regions:
    """The whole of `count` frames in the middle of squares: what the detector sees."""
    size = torch.tensor([width, height], dtype=torch.float32, device=device)
    return Regions(
        torch.arange(count, device=device),
        (size / 2).expand(count, 2),
        size.amax().expand(count, 2),
        torch.zeros(count, device=device),
    )


def detections(regressors: Tensor, logits: Tensor, centres: Tensor, faces: int) -> tuple[Tensor, Tensor]:
    """Boxes and eyes of at most `faces` faces a picture, best first.

    `regressors` (B, 896, 16), `logits` (B, 896, 1): the network's; `centres` of `anchors`. Returns (B, faces, 4, 2),
    fractions of the picture: lower corner, upper corner, the two eyes; and (B, faces) scores, 0 where there is none.
    """
    scores = logits[..., 0].clamp(-LARGEST_LOGIT, LARGEST_LOGIT).sigmoid()
    scores = torch.where(scores >= LEAST_SCORE, scores, 0)
    values = regressors.unflatten(2, (8, 2)) / DETECTOR_SIZE
    middle, half = values[:, :, 0] + centres, values[:, :, 1] / 2
    points = torch.stack([middle - half, middle + half, values[:, :, 2] + centres, values[:, :, 3] + centres], dim=2)
    rows = torch.arange(len(scores), device=scores.device)
    found, found_scores = [], []
    for _ in range(faces):
        score, best = scores.max(dim=1)
        chosen = points[rows, best]
        overlap = _overlaps(points, chosen)
        near = (overlap > LARGEST_OVERLAP) & (scores > 0)
        weights = torch.where(near, scores, 0)
        total = weights.sum(1)
        mean = (weights[..., None, None] * points).sum(1) / total.clamp_min(1e-12)[:, None, None]
        found.append(torch.where((total > 0)[:, None, None], mean, chosen))
        found_scores.append(score)
        scores = torch.where(near, 0, scores).scatter(1, best[:, None], 0.0)
    return torch.stack(found, dim=1), torch.stack(found_scores, dim=1)


def _overlaps(points: Tensor, chosen: Tensor) -> Tensor:
    """(B, 896) intersection over union of each box with the chosen one of its picture."""
    low = torch.maximum(points[:, :, 0], chosen[:, None, 0])
    high = torch.minimum(points[:, :, 1], chosen[:, None, 1])
    common = (high - low).clamp_min(0).prod(-1)
    areas = (points[:, :, 1] - points[:, :, 0]).prod(-1)
    union = areas + (chosen[:, 1] - chosen[:, 0]).prod(-1)[:, None] - common
    return torch.where(union > 0, common / union, 0)


def face_regions(points: Tensor, scores: Tensor, seen: Regions) -> Regions:
    """Rectangles to look for landmarks in, of what `detections` gave for the upright squares `seen`, in their order.

    Their `frame` is the place in `seen`.
    """
    square, place = (scores > 0).nonzero(as_tuple=True)
    corner = (seen.centre - seen.size / 2)[square, None]
    pixels = points[square, place] * seen.size[square, None] + corner
    return around_boxes(square, pixels[:, 0], pixels[:, 1], pixels[:, 2:])
