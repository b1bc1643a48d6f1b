"""Faces that are drawn, so that what they show is known exactly."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from icface.analyzers.face import Face
from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema, Seen
from icface.bundle import BundleConfig
from icface.evaluation import EvaluationPair
from icface.evaluation.pairs import PairSource
from icface.networks.config import ModelConfig

SIZE = 32
AU12, AU25, YAW = (ATTRIBUTE_NAMES.index(name) for name in ("AU12", "AU25", "pose_yaw"))


class Painter(nn.Module):
    """Paints each coded attribute as the brightness of a block of its own, after mixing them by `mixing` (n, n)."""

    def __init__(self, mixing: np.ndarray) -> None:
        super().__init__()
        self.mixing = torch.from_numpy(mixing.astype(np.float32))

    def forward(self, image: Tensor, attributes: Tensor) -> Tensor:
        values = (attributes @ self.mixing.T).clamp(0, 1) * 2 - 1
        picture = image.clone()
        for index in range(values.shape[1]):
            row, column = divmod(index, 8)
            picture[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = values[:, index, None, None, None]
        return picture


class Reader:
    """Reads them again, exactly but for the rounding of pixels."""

    measures = frozenset(ATTRIBUTE_NAMES)
    fingerprint = "1"
    batch_size = 64

    def __init__(self, name: str = "reader", gain: float = 1.0) -> None:
        self.name, self.gain = name, gain

    def analyze(self, frames: np.ndarray, frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        schema = AttributeSchema.default()
        coded = np.stack(
            [frames[:, 4 * (i // 8) + 1, 4 * (i % 8) + 1, 0].astype(np.float32) / 255 for i in range(20)], axis=1
        )
        landmarks = np.random.default_rng(0).uniform(0, SIZE, (68, 2)).astype(np.float32)
        neutral = schema.neutral()
        raw = neutral + (schema.decode(coded) - neutral) * self.gain
        return [[Face(landmarks=landmarks, attributes=row.astype(np.float32), confidence=1.0)] for row in raw]

    def close(self) -> None: ...


class DrawnModel(nn.Module):
    """What `evaluate` needs of a model; its neutral face is black."""

    size = SIZE

    def __init__(self, mixing: np.ndarray) -> None:
        super().__init__()
        seen = Seen(min=0, p01=0, p50=0.5, p99=2.0, max=3.0)
        turned = Seen(min=-0.6, p01=-0.4, p50=0, p99=0.4, max=0.6)
        self.schema = AttributeSchema(
            tuple(replace(a, seen=turned if a.unit == "rad" else seen) for a in AttributeSchema.default().attributes)
        )
        self.config = BundleConfig(model=ModelConfig(size=SIZE), schema=self.schema)
        self.generator = Painter(mixing)

    def neutralise(self, image: Tensor, source: Tensor) -> Tensor:
        return torch.full_like(image, -1.0)


class DrawnPairs:
    """40 frames asked of one source; of each person in turn where there are several."""

    hash = "drawn"

    def __init__(self, people: int = 1) -> None:
        generator = np.random.default_rng(1)
        self.people = [f"p{index * people // 40}" for index in range(40)]
        self.labels = AttributeSchema.default().neutral() + np.zeros((40, 20), np.float32)
        self.labels[:, AU12] = generator.uniform(0, 2, 40)
        self.labels[:, AU25] = generator.uniform(0, 2, 40)
        self.labels[:, YAW] = generator.uniform(-0.4, 0.4, 40)

    def __len__(self) -> int:
        return len(self.labels)

    def sources(self):
        return [PairSource(group="val", kind="self", key=key) for key in dict.fromkeys(self.people)]

    def attributes(self):
        return self.labels

    def sequences(self):
        return iter(())

    def __iter__(self):
        painter = Painter(np.eye(20))
        for index, (row, person) in enumerate(zip(self.labels, self.people, strict=True)):
            yield EvaluationPair(
                key=str(index),
                group="val",
                kind="self",
                source_key=person,
                track=person,
                source=drawn(painter, AttributeSchema.default().neutral()),
                driving=drawn(painter, row),
                attributes=row,
                source_attributes=AttributeSchema.default().neutral(),
                box=np.array([0, 0, 1, 1], np.float32),
                identity=person,
            )


def drawn(painter: Painter, row: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8: the face with these raw attributes."""
    coded = torch.from_numpy(AttributeSchema.default().encode(row[None])[0])
    picture = painter(torch.full((1, 3, SIZE, SIZE), -1.0), coded)
    return ((picture[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
