"""A model out of the registry: as a bundle folder, or as ONNX for other runtimes."""

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from icface.bundle import ICface, load_bundle, save_bundle
from icface.errors import IcfaceError
from icface.words import pip_install
from orchestration.registry.onnx_readme import onnx_metadata, onnx_readme
from orchestration.registry.references import resolve

Format = Literal["bundle", "onnx"]
TOLERANCE = 1e-4
"""Largest difference between torch's output and onnxruntime's that is let pass; outputs are -1..1."""


def export(model: str, output: str, form: Format = "bundle") -> ICface:
    """Write MODEL to the new folder `output`; returns it, for its licence.

    `onnx` writes `neutraliser.onnx` and `generator.onnx`, beside the bundle's config.json and a README.md that says how
    to use them. Each takes `image` (B, 3, S, S) in [-1, 1] and coded `attributes` (B, n), and returns `picture`. Of a
    `layered` model (`ModelConfig`), what the neutraliser returns and the generator takes has 12 channels. The batch may
    have any size. The outputs are checked against torch in onnxruntime. Raises IcfaceError when there is no
    such model, something lies at `output`, or the check fails.
    """
    target = Path(output).absolute()
    if target.exists():
        raise IcfaceError(f"{output} exists; choose another folder")
    loaded = load_bundle(resolve(model).folder)
    if form == "bundle":
        save_bundle(loaded, target)
        return loaded
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        partial = Path(scratch) / "onnx"
        save_bundle(loaded, Path(scratch) / "bundle")
        partial.mkdir()
        shutil.copy(Path(scratch) / "bundle" / "config.json", partial / "config.json")
        (partial / "README.md").write_text(onnx_readme(loaded))
        loaded.eval()
        neutraliser = _Layered(loaded.neutraliser) if loaded.config.model.layered else loaded.neutraliser
        _write_onnx(neutraliser, loaded, partial / "neutraliser.onnx")
        _write_onnx(loaded.generator, loaded, partial / "generator.onnx", after=neutraliser)
        os.replace(partial, target)
    return loaded


class _Layered(torch.nn.Module):
    """A neutraliser that returns the layers of its picture."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
        layers: torch.Tensor = self.network(image, attributes, with_flow=True).layers(image)
        return layers


def _write_onnx(
    network: torch.nn.Module, model: ICface, path: Path, after: Callable[..., torch.Tensor] | None = None
) -> None:
    """`after` makes the network's image of a picture and attributes; None hands it the picture."""

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, attributes = _inputs(model, count)
        with torch.no_grad():
            return image if after is None else after(image, attributes), attributes

    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise IcfaceError(f"ONNX needs packages: {pip_install('onnx', 'onnxruntime', 'onnxscript')}") from None
    inputs = drawn(2)
    batch = torch.export.Dim("batch", min=1)
    # It would name what it leaves out of torchvision, which no network here uses.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            network,
            inputs,
            str(path),
            input_names=["image", "attributes"],
            output_names=["picture"],
            dynamic_shapes=({0: batch}, {0: batch}),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    described = onnx.load(path)
    onnx.helper.set_model_props(described, onnx_metadata(model))
    onnx.save(described, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        image, attributes = drawn(count)
        with torch.inference_mode():
            expected = network(image, attributes).numpy()
        (found,) = session.run(None, {"image": image.numpy(), "attributes": attributes.numpy()})
        difference = float(np.abs(found - expected).max())
        if difference > TOLERANCE:
            raise IcfaceError(
                f"{path.name} differs from torch by {difference:.2g}, more than {TOLERANCE:g}; not exported"
            )


def _inputs(model: ICface, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    image = torch.rand(count, 3, model.size, model.size, generator=generator) * 2 - 1
    return image, torch.rand(count, len(model.schema), generator=generator)
