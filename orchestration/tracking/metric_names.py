"""Names of metrics in MLflow, in groups that its page folds: `train/`, `validation/`, `eval/`, `system/`."""

from collections.abc import Mapping

NETWORKS = {"A": "generator", "N": "neutraliser", "D": "discriminator", "E": "edits"}
"""The paper's letters in the names of loss terms; E stands for random edits, which the critic reads."""
VALIDATION = ("D/r/", "N/variance", "N/units")
"""How names of what is seen on real validation frames begin."""
EVALUATION = "eval/"


def grouped(name: str) -> str:
    """What MLflow calls a figure of a training.

    >>> [grouped(name) for name in ("A/reconstruction", "D/r/AU12", "images_per_second")]
    ['train/generator/reconstruction', 'validation/discriminator/r/AU12', 'train/images_per_second']
    """
    group = "validation" if name.startswith(VALIDATION) else "train"
    letter, slash, rest = name.partition("/")
    return f"{group}/{NETWORKS.get(letter, letter)}/{rest}" if slash else f"{group}/{name}"


def all_grouped(metrics: Mapping[str, float]) -> dict[str, float]:
    """The same figures under MLflow's names."""
    return {grouped(name): value for name, value in metrics.items()}
