"""Read a data set without Ray and without torch: `python examples/read_dataset.py DATASET`.

Prints, for each split, how many frames and people it has, and the mean smile of each person.
"""

import sys

import numpy as np

from icface.images import decode_image
from pipelines.dataset import Dataset


def main(url: str) -> None:
    dataset = Dataset.open(url)
    for split in ("train", "val", "test"):
        smiles: dict[str, list[float]] = {}
        frames = 0
        for group in dataset.row_groups(split):
            table = dataset.read(group, ["AU12"])  # only the columns that are named are read
            smiles.setdefault(group.identity, []).extend(table["AU12"].to_numpy().tolist())
            frames += group.rows
        print(f"{split}: {frames} frames of {len(smiles)} people")
        for identity, values in sorted(smiles.items()):
            print(f"  {identity}: mean AU12 {np.nanmean(values):.2f}")
    first = dataset.row_groups("train")[0]
    row = dataset.read(first, ["image"])["image"][0].as_py()
    print(f"first picture: {decode_image(row).shape}")


if __name__ == "__main__":
    main(sys.argv[1])
