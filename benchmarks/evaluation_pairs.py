"""The evaluation pairs as pictures, for another method: `python benchmarks/evaluation_pairs.py DATASET OUT`.

OUT holds `pairs.csv` (key, group, kind, source_key, source, driving: two PNG files), the pictures, and the
`predictions.json` that belongs into the folder of the results. Let the method drive each source by its driving frame,
name the results in a `predictions.csv`, and score them with `icface evaluate --predictions FOLDER DATASET`.
"""

import argparse
import csv
import json
from pathlib import Path

from icface.evaluation.pairs import Pictures
from icface.evaluation.predictions import FACTS
from icface.images import encode_png
from pipelines.dataset import Dataset
from pipelines.loading.evaluation_pairs import EvaluationPairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-track", type=int, default=8, help="driving frames a track")
    parser.add_argument("--tracks", type=int, default=20, help="tracks a group")
    parser.add_argument("--size", type=int, help="pictures are compared in this size, px; by default the data set's")
    options = parser.parse_args()
    write_pairs(Dataset.open(options.dataset), options.out, options.per_track, options.tracks, options.size)


def write_pairs(dataset: Dataset, out: Path, per_track: int, tracks: int | None, size: int | None = None) -> None:
    """Write what the module says; frames that several pairs share are written once."""
    pairs = EvaluationPairs(dataset, per_track=per_track, tracks=tracks)
    files: dict[str, str] = {}

    def kept(name: str, picture: Pictures) -> str:
        if name not in files:
            files[name] = f"{len(files):06d}.png"
            (out / files[name]).write_bytes(encode_png(picture))
        return files[name]

    out.mkdir(parents=True, exist_ok=True)
    with (out / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "group", "kind", "source_key", "source", "driving"])
        for pair in pairs:
            driving_key = f"{pair.track}@{pair.key.rpartition('@')[2]}"
            source, driving = kept(pair.source_key, pair.source), kept(driving_key, pair.driving)
            writer.writerow([pair.key, pair.group, pair.kind, pair.source_key, source, driving])
    facts = {
        "dataset_hash": dataset.hash,
        "pairs_hash": pairs.hash,
        "per_track": per_track,
        "tracks": tracks,
        "size": size or dataset.size,
    }
    (out / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
