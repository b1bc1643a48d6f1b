"""Reading training pairs: `python benchmarks/loader.py [DATASET]` (without one, 128 px of the sample clips).

Images a second and core of `PairBatches` against cv2.imdecode alone on the same bytes, with the row groups
- in memory, as they are when a data set is small or the same row group is read again soon,
- mapped from the folder of `--cache`,
- read from Parquet for the first time, the near-neutral frame being chosen.
Goal: 0.7 or more. Then: whether 16 cores deliver 1.5 times the 1,500 pairs/s that a Hopper GPU's training step is to
take; benchmarks/train_step.py measures that step.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import side_by_side, surroundings, verdict

import pipelines.loading.pairs
from icface.training.config import TrainConfig
from icface.weights import SAMPLE_CLIPS, fetch
from pipelines.config import PreprocessConfig, SelectionConfig
from pipelines.dataset import Dataset
from pipelines.loading.pairs import PairBatches
from pipelines.preprocess.job import preprocess
from pipelines.row_cache import RowCache

CORES = 16
WANTED = 1500
"""Pairs a second that a Hopper GPU's training step is to take at 128 px."""
MARGIN = 1.5
"""How many times what a step consumes is to be there."""


def sample_dataset(folder: Path) -> str:
    for name, file in SAMPLE_CLIPS.items():
        place = folder / "clips" / Path(name).stem / "v" / "1.mp4"
        place.parent.mkdir(parents=True)
        place.symlink_to(fetch(file))
    everybody = SelectionConfig(val_fraction=0.0)
    preprocess(PreprocessConfig(source=str(folder / "clips"), dataset=str(folder / "data"), selection=everybody))
    return str(folder / "data")


def drawn(pairs: PairBatches) -> list[np.ndarray]:
    """The bytes of every picture that the blocks decode."""
    taken: list[np.ndarray] = []
    decode = pipelines.loading.pairs.decode_jpeg

    def note(data: np.ndarray) -> np.ndarray:
        taken.append(data.copy())
        return decode(data)

    pipelines.loading.pairs.decode_jpeg = note
    try:
        for number in pairs.blocks:
            pairs.arrays(number)
    finally:
        pipelines.loading.pairs.decode_jpeg = decode
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        url = options.dataset or sample_dataset(folder)
        preset = TrainConfig.preset("icface")
        config = replace(preset.data, workers=0)
        near = Dataset.open(url)

        def pairs_of(dataset: Dataset) -> PairBatches:
            steps = config.pairs_per_row_group * options.blocks
            return PairBatches(dataset, config, dataset.schema, near.size, seed=0, steps=steps)

        kept, parquet = pairs_of(near), pairs_of(near)
        mapped = pairs_of(Dataset.open(url, RowCache(folder / "cache", 2**34)))
        pictures = drawn(kept)
        drawn(mapped)

        def block_by_block(pairs: PairBatches, forget: Callable[[], None]) -> Callable[[], None]:
            def run() -> None:
                for number in pairs.blocks:
                    forget()
                    pairs.arrays(number)

            return run

        def first_time() -> None:
            parquet._readers[0]._kept.clear()
            parquet._readers[0]._neutral.clear()

        work = {
            "cv2.imdecode": lambda: [cv2.imdecode(data, cv2.IMREAD_COLOR) for data in pictures] and None,
            "in memory": block_by_block(kept, lambda: None),
            "mapped": block_by_block(mapped, mapped._readers[0]._kept.clear),
            "Parquet": block_by_block(parquet, first_time),
        }
        seconds = side_by_side(work, options.rounds, torch.device("cpu"))
    print(surroundings(torch.device("cpu")))
    sizes = sum(len(data) for data in pictures) / len(pictures)
    print(f"{len(pictures)} pictures of {near.size} px, {sizes / 1024:.1f} KiB each; batch {config.batch_size}")
    for name, each in seconds.items():
        ratio = "" if name == "cv2.imdecode" else f"; of cv2.imdecode: {verdict(seconds['cv2.imdecode'] / each, 0.7)}"
        print(f"{name}: {len(pictures) / each:.0f} images/s a core{ratio}")
    count = len(kept.blocks) * config.pairs_per_row_group * config.batch_size
    for name in ("in memory", "Parquet"):
        rate = CORES * count / seconds[name]
        print(
            f"{CORES} cores, {name}: {rate:.0f} pairs/s; with a margin of {MARGIN:g}: {verdict(rate / MARGIN, WANTED)}"
        )


if __name__ == "__main__":
    main()
