"""The authors' released weights (`latest_net_G.pth`, `latest_net_GN.pth`) as a bundle.

Their licence allows non-commercial use only, and the bundle says so. The files are state dicts, perhaps inside a dict
with the optimiser's, saved from DataParallel. The networks take the picture directly, without an image encoder. They
code poses of 0.7 rad (0.5 rad in the training code of 2019).
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig, ICface
from icface.errors import IcfaceError, first_line
from icface.networks.config import ModelConfig

LICENCE = "non-commercial (Blade6570/icface released weights, WACV 2020)"
_WRAPPERS = ("state_dict", "model", "net", "params")


def import_release(
    generator: str | os.PathLike[str], neutraliser: str | os.PathLike[str], pose_range: float = 0.7
) -> ICface:
    """The released networks as a model in eval mode.

    `generator` and `neutraliser` are the paths of latest_net_G.pth and latest_net_GN.pth. Raises IcfaceError naming
    the first key that does not fit. Width and blocks are read off the weights.
    """
    states = {"generator": _state(Path(generator)), "neutraliser": _state(Path(neutraliser))}
    first = states["generator"].get("model.1.weight")
    if first is None:
        raise IcfaceError(f"{generator} is not the released generator: model.1.weight is missing")
    schema = AttributeSchema.default(pose_range)
    blocks = len({key.split(".")[1] for key in states["generator"] if ".conv_block." in key})
    config = ModelConfig(
        architecture="resnet", size=128, width=int(first.shape[0]), blocks=max(blocks, 1), encoder=False, dropout=0.5
    )
    model = ICface(
        BundleConfig(
            model=config,
            schema=schema,
            crop_rule={"mode": "track", "scale": 1.6, "smoothing_seconds": 1.0},
            analyzer={"name": "openface", "fingerprint": "OpenFace 2, as the authors used it"},
            licence=LICENCE,
            training={"imported_from": "the authors' released weights", "pose_range": pose_range},
        )
    )
    for name, path in (("generator", generator), ("neutraliser", neutraliser)):
        _fill(getattr(model, name), states[name], path)
    return model.eval()


def _state(path: Path) -> dict[str, Tensor]:
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise IcfaceError(f"{path} does not exist") from None
    except Exception as error:  # torch raises whatever its zip reader and unpickler do
        raise IcfaceError(f"{path} is not a file of weights: {first_line(error)}") from None
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise IcfaceError(f"{path} holds no state dict of one network")
    return {key.removeprefix("module."): value for key, value in loaded.items()}


def _fill(network: torch.nn.Module, state: dict[str, Tensor], path: str | os.PathLike[str]) -> None:
    expected = network.state_dict()
    # Old batch norms kept no count of batches; it plays no part in eval mode.
    optional = {key for key in expected if key.endswith("num_batches_tracked")}
    for key in [*expected, *sorted(state.keys() - expected.keys())]:
        if key in optional:
            continue
        found = tuple(state[key].shape) if key in state else "nothing"
        wanted = tuple(expected[key].shape) if key in expected else "nothing"
        if found != wanted:
            raise IcfaceError(f"{path} does not fit the released network at {key}: found {found}, wanted {wanted}")
    network.load_state_dict({**{key: expected[key] for key in optional}, **state})
