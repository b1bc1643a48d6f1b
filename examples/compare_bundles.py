"""Compare two bundles on one data set: `python examples/compare_bundles.py BUNDLE_A BUNDLE_B DATASET`.

Both are scored on the same pairs. The scores are printed side by side, beside those of copying the source.
"""

import sys

from icface.bundle import load_bundle
from icface.evaluation.report import HEADLINE
from orchestration.registry.evaluation import evaluate_model


def main(first: str, second: str, dataset: str, per_track: int = 5) -> None:
    one, other = (evaluate_model(bundle, dataset, per_track=per_track) for bundle in (first, second))
    print(f"A: {first}, {load_bundle(first).size} px\nB: {second}, {load_bundle(second).size} px")
    for name, group in one.groups.items():
        print(f"\n{name:<24} {'A':>9} {'B':>9} {'copy':>9}")
        for metric in HEADLINE:
            columns = (group.scores["model"], other.groups[name].scores["model"], group.scores["copy_source"])
            values = [column.get(metric) for column in columns]
            if any(value is not None for value in values):
                cells = ("–" if value is None else f"{value:.3f}" for value in values)
                print(f"{metric:<24} " + " ".join(f"{cell:>9}" for cell in cells))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
