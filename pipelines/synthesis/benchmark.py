"""The benchmark of control by action units: always the same synthetic people, who move one thing at a time."""

import numpy as np
import numpy.typing as npt

from icface.errors import IcfaceError
from icface.evaluation.benchmark import BenchmarkScores, benchmark_scores
from icface.evaluation.measuring import Columns
from icface.synthetic.motion import single_moves
from pipelines.dataset import INDEX, Dataset
from pipelines.preprocess.progress import OnProgress
from pipelines.storage import Folder
from pipelines.synthesis.config import SINGLE, SynthesisConfig

NAME = "synthetic"
"""What `icface evaluate --benchmark` calls it."""
PEOPLE, SEED = 12, 20240


def benchmark_config(folder: str, size: int) -> SynthesisConfig:
    """The data set of the benchmark in `folder`, of pictures of `size` px; nobody in it is trained on."""
    frames = len(single_moves()[1])
    return SynthesisConfig(
        dataset=folder, people=PEOPLE, frames=frames, size=size, seed=SEED, motion=SINGLE, val_fraction=1.0
    )


def prepare(folder: str, size: int, on_progress: OnProgress = lambda progress: None) -> None:
    """Make the benchmark in `folder`, unless it is there. Raises IcfaceError when something else is there."""
    from pipelines.synthesis.job import synthesise

    if Folder.at(folder).exists(INDEX):
        check(Dataset.open(folder))
    else:
        synthesise(benchmark_config(folder, size), on_progress)


def check(dataset: Dataset) -> None:
    """Raise IcfaceError when a data set is not the benchmark."""
    wanted = benchmark_config(dataset.url, dataset.size).naming()
    people = dataset.meta["counts"]["identities"]
    if dataset.meta["options"] != wanted or people != {"train": 0, "val": PEOPLE, "test": 0}:
        raise IcfaceError(
            f"{dataset.url} is not the benchmark {NAME}: name a folder that is not there yet, it will be made"
        )


def moves_of(pairs: Columns) -> npt.NDArray[np.str_]:
    """(N,) the attribute that each measured pair moves, empty for none; told by the frame, which the key ends with."""
    moves = np.array(single_moves()[1])
    return moves[[int(str(key).rpartition("@")[2]) % len(moves) for key in pairs["key"]]]


def scores(pairs: Columns) -> BenchmarkScores:
    """Of the measured pairs (`Measurements.pairs`) of the benchmark."""
    return benchmark_scores(pairs, moves_of(pairs))
