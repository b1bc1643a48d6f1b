"""Memory and rate of an evaluation of many pairs by Ray: `python benchmarks/many_pairs.py [--pairs 10000]`.

Synthetic pairs, a tiny model without training and an analyzer that reads brightness: what is left is the evaluation
itself, with the path, the metrics and the tables of a real one. The memory of this process and of those that measure is
read each time that a task is done. It must not grow with the pictures; the table of scores grows by the rows alone.
"""

import argparse
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measuring import surroundings
from process_tree import descendants

from icface.analyzers.face import Face
from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema
from icface.bundle import BundleConfig, ICface
from icface.evaluation.faces import Measurer
from icface.evaluation.pairs import EvaluationPair, PairSource
from icface.evaluation.reenact import Conditions, make_report
from icface.evaluation.rendering import ModelRenderer
from icface.networks.config import ModelConfig
from orchestration.registry.distributed_evaluation import measure_on_ray

SIZE, A_SOURCE = 64, 10
"""Pixels, and pairs of each source."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class Brightness:
    """An analyzer that takes the mean brightness of a strip for each attribute."""

    name, fingerprint, batch_size = "brightness", "1", 64
    measures = frozenset(ATTRIBUTE_NAMES)

    def analyze(self, frames: np.ndarray, frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        strips = frames[:, : 3 * 20].reshape(len(frames), 20, 3, -1).mean(axis=(2, 3), dtype=np.float32) / 255
        points = np.random.default_rng(0).uniform(0, SIZE, (68, 2)).astype(np.float32)
        return [[Face(landmarks=points, attributes=row, confidence=1.0)] for row in strips]

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Stands in for `orchestration.registry.measurer.MeasurerChoice`."""

    device: str = "cpu"

    @contextmanager
    def opened(self) -> Iterator[Measurer]:
        yield Measurer(analyzer=Brightness(), second=None)


@dataclass(frozen=True, kw_only=True)
class RandomPairs:
    """Pairs of random pictures that are made when they are asked for."""

    count: int
    hash: str = "random"

    def __len__(self) -> int:
        return self.count

    def some(self, numbers: Iterable[int]) -> Iterator[EvaluationPair]:
        for number in numbers:
            key = f"s{number // A_SOURCE}"
            source, driving = (_picture(seed) for seed in (number // A_SOURCE, self.count + number))
            yield EvaluationPair(
                key=str(number),
                group="val",
                kind="self",
                source_key=key,
                track=key,
                source=source,
                driving=driving,
                attributes=_labels(number),
                source_attributes=_labels(0),
                box=np.array([0.2, 0.2, 0.6, 0.6], np.float32),
                identity=key,
            )

    def sources(self) -> list[PairSource]:
        return [PairSource(group="val", kind="self", key=f"s{index}") for index in range(self.count // A_SOURCE)]

    def by_source(self) -> list[range]:
        return [range(start, start + A_SOURCE) for start in range(0, self.count, A_SOURCE)]

    def attributes(self) -> np.ndarray:
        return np.stack([_labels(number) for number in range(0, self.count, A_SOURCE)])


def _picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def _labels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, len(ATTRIBUTE_NAMES)).astype(np.float32)


def megabytes(process: int | str) -> float:
    """Memory of a process that is in use now, MB; NaN where it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE / 1e6
    except OSError:
        return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    count = options.pairs // A_SOURCE * A_SOURCE
    model = ICface(BundleConfig(model=ModelConfig(size=SIZE, width=4, blocks=1), schema=AttributeSchema.default()))
    pairs, begun = RandomPairs(count=count), time.perf_counter()
    told: list[tuple[int, float, float]] = []

    def progress(done: int, total: int) -> None:
        workers = [each for each, name in descendants(os.getpid()).items() if "PairMeasurer" in name]
        told.append((done, megabytes("self"), max(map(megabytes, workers), default=float("nan"))))
        if len(told) % 10 == 1 or done == total:
            memory = f"this process {told[-1][1]:.0f} MB, the largest that measures {told[-1][2]:.0f} MB"
            print(f"{done:6} of {total} pairs, {time.perf_counter() - begun:5.0f} s: {memory}", flush=True)

    measured = measure_on_ray(model, pairs, Choice(), workers=options.workers, progress=progress)  # type: ignore[arg-type]
    print(f"{surroundings(torch.device('cpu'))}, {options.workers} processes")
    rows = [*measured.pairs.values(), *measured.sources.values()]
    print(f"tables: {sum(column.nbytes for column in rows) / count / 1e3:.2f} kB a pair")
    for index, what in ((1, "this process"), (2, "the largest that measures")):
        # From a tenth on: before that libraries are loaded and buffers grow to their size.
        late = np.array([each for each in told if each[0] >= count / 10 and np.isfinite(each[index])], float)
        print(f"{what}: {np.polyfit(late[:, 0], late[:, index], 1)[0] * 1e3:+.2f} kB a pair")
    start = time.perf_counter()
    make_report(_conditions(model, pairs), measured)
    print(f"scores and intervals: {time.perf_counter() - start:.0f} s, this process {megabytes('self'):.0f} MB")


def _conditions(model: ICface, pairs: RandomPairs) -> Conditions:
    return Conditions.of(ModelRenderer(model), pairs, Measurer(analyzer=Brightness()))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
