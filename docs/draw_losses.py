"""Draws a training's curves: `MLFLOW_TRACKING_URI=... python docs/draw_losses.py RUN_ID docs/losses.svg`."""

import sys

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from mlflow import MlflowClient

PANELS = {
    "L1": {"train/generator/reconstruction": "animated", "train/neutraliser/reconstruction": "neutral"},
    "the critic": {
        "train/generator/critic": "animated", "train/neutraliser/critic": "neutral", "train/edits/critic": "edited",
    },
    "D's r on real validation frames": {
        f"validation/discriminator/r/{name}": label
        for name, label in (("pose_yaw", "yaw"), ("AU12", "AU12"), ("AU25", "AU25"), ("AU45", "AU45"))
    },
    "neutral faces": {
        "validation/neutraliser/variance": "variance between people / sources'",
        "validation/neutraliser/units": "action units read",
    },
}  # fmt: skip
SMOOTHED = 9
"""Log lines that a point of a loss curve is the mean of."""


def draw(axes: Axes, title: str, curves: dict[str, str], client: MlflowClient, run: str) -> None:
    for metric, label in curves.items():
        points = client.get_metric_history(run, metric)
        steps, values = np.array([[point.step, point.value] for point in points]).T
        if len(values) > 20 * SMOOTHED:
            window = np.ones(SMOOTHED) / SMOOTHED
            steps, values = np.convolve(steps, window, "valid"), np.convolve(values, window, "valid")
        axes.plot(steps, values, label=label, linewidth=1)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def main() -> None:
    run, path = sys.argv[1:]
    plt.rcParams["svg.hashsalt"] = "icface"
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
    for axis, (title, curves) in zip(axes.flat, PANELS.items(), strict=True):
        draw(axis, title, curves, MlflowClient(), run)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
