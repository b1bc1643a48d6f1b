"""How far a set of pictures lies from a set of real ones, in the features of EfficientNet-Lite0.

FID and KID by their usual names mean Inception's features, which have no weights here. These are named `fid_lite0` and
`kid_lite0`, and are comparable with each other alone. The statistics are torchmetrics'.
"""

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from icface.networks.features import DEVIATION, MEAN, EfficientNetLite0, fill, folded
from icface.weights import PERCEPTUAL_NETWORK, fetch

FEATURES = 320
LARGEST = 128
"""Larger pictures are brought to this many pixels a side first. Only sets of one size are comparable."""
LEAST_FOR_FID = 2 * FEATURES
"""Fewer pictures do not determine a covariance of 320 features."""
LEAST_FOR_KID = 32
SUBSET, SUBSETS = 1000, 10
"""KID of more pictures is the mean over subsets, as usual."""

Features = npt.NDArray[np.float32]
Extractor = Callable[[npt.NDArray[np.uint8]], Features]


def lite0_features(device: torch.device | str = "cpu") -> Extractor:
    """A function from (N, H, W, 3) uint8 RGB to (N, 320): Lite0's last features, their mean over the picture.

    The weights are fetched at first use. Raises IcfaceError when they cannot be had.
    """
    network = EfficientNetLite0()
    fill(network, fetch(PERCEPTUAL_NETWORK))
    network = folded(network).to(device).requires_grad_(False)
    mean, deviation = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, DEVIATION))

    @torch.inference_mode()
    def features(pictures: npt.NDArray[np.uint8]) -> Features:
        images = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2).float() / 255
        if images.shape[2] > LARGEST:
            size = (LARGEST, LARGEST)
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
        return np.asarray(network((images - mean) / deviation)[-1].mean(dim=(2, 3)).cpu().numpy())

    return features


def fid(made: Features, real: Features) -> float | None:
    """Fréchet distance of two sets of features (N, 320), 0 or more, lower is better (Heusel et al. 2017).

    Small sets score too high, so it is None under `LEAST_FOR_FID` pictures.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(made), len(real)) < LEAST_FOR_FID:
        return None
    metric = FrechetInceptionDistance(feature=_AsTheyAre(made.shape[1]))
    metric.update(torch.from_numpy(made), real=False)
    metric.update(torch.from_numpy(real), real=True)
    return float(metric.compute())


def kid(made: Features, real: Features) -> float | None:
    """Squared MMD with the cubic kernel of two sets of features (N, 320), lower is better (Binkowski et al. 2018).

    Unbiased at any size, so it may fall below 0. None under `LEAST_FOR_KID` pictures. Seeded.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    count = min(len(made), len(real))
    if count < LEAST_FOR_KID:
        return None
    subsets = 1 if count <= SUBSET else SUBSETS
    with warnings.catch_warnings():  # that it keeps the features, which is why they are given
        warnings.simplefilter("ignore", UserWarning)
        metric = KernelInceptionDistance(
            feature=_AsTheyAre(made.shape[1]), subsets=subsets, subset_size=min(count, SUBSET)
        )
    metric.update(torch.from_numpy(made), real=False)
    metric.update(torch.from_numpy(real), real=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return float(metric.compute()[0])


class _AsTheyAre(nn.Module):
    """Stands in for a feature network: torchmetrics is given features, not pictures."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.num_features = count

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features
