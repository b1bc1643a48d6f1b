"""How much of an evaluation's time is the analyzers': frames a second of `evaluate` against the analyzers alone.

Every picture that an evaluation makes or reads is looked at by the analyzers; nothing can be faster than that. Their
own time is taken while the evaluation runs, so both are of the same pictures and the same machine.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from measuring import surroundings, verdict

from icface.analyzers.face import Analyzer, Face
from icface.bundle import load_bundle
from icface.evaluation.faces import Measurer
from icface.evaluation.measuring import measure
from icface.evaluation.rendering import ModelRenderer
from orchestration.registry.measurer import MeasurerChoice
from pipelines.dataset import Dataset
from pipelines.loading.evaluation_pairs import EvaluationPairs

GOAL = 0.85


class Counting:
    """An analyzer that counts its frames and its seconds by `clock`."""

    def __init__(self, analyzer: Analyzer, clock: Callable[[], float]) -> None:
        self._analyzer, self._clock = analyzer, clock
        self.frames, self.seconds = 0, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._analyzer, name)

    def analyze(self, frames: np.ndarray, frame_indices: Sequence[int], clip: str) -> list[list[Face]]:
        start = self._clock()
        found = self._analyzer.analyze(frames, frame_indices, clip)
        self.seconds += self._clock() - start
        self.frames += len(frames)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a bundle folder")
    parser.add_argument("dataset")
    parser.add_argument("--tracks", type=int, default=4)
    parser.add_argument("--per-track", type=int, default=16)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--no-second", action="store_true", help="without dlib's second opinion")
    parser.add_argument("--no-features", action="store_true", help="without EfficientNet-Lite0's features")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = "cuda" if options.gpu else "cpu"
    data = Dataset.open(options.dataset)
    pairs = EvaluationPairs(data, per_track=options.per_track, tracks=options.tracks)
    renderer = ModelRenderer(load_bundle(options.model), device)
    choice = MeasurerChoice(
        second=None if options.no_second else "dlib", features=not options.no_features, device=device
    ).for_data(data)
    clock = time.perf_counter if options.gpu else time.process_time  # others cannot lengthen the CPU's
    with choice.opened() as opened:
        counting = [Counting(each, clock) for each in (opened.analyzer, opened.second) if each is not None]
        measurer = Measurer(
            analyzer=counting[0],
            second=counting[1] if len(counting) > 1 else None,
            features=opened.features,
        )
        measure(renderer, pairs.some(range(min(16, len(pairs)))), measurer)  # warm
        for each in counting:
            each.frames, each.seconds = 0, 0.0
        start = clock()
        measure(renderer, pairs, measurer)
        whole = clock() - start
    alone = sum(each.seconds for each in counting)
    frames = counting[0].frames
    print(f"{surroundings(torch.device(device))}")
    print(f"{len(pairs)} pairs, {frames} pictures of {renderer.size} px, analyzers: {len(counting)}")
    print(f"evaluation: {frames / whole:.1f} frames/s; analyzers alone: {frames / alone:.1f} frames/s")
    print(f"evaluation over analyzers alone: {verdict(alone / whole, GOAL)}")


if __name__ == "__main__":
    main()
