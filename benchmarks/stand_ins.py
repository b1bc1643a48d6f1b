"""What a benchmark imports first, so that it runs on a machine without this project's environment.

A GPU that is lent for minutes comes with torch, pyarrow, OpenCV and pandas, and nothing can be installed there. This
module makes the project's packages importable from where they lie, and puts something in the place of the packages that
are imported and not needed.
"""

import json
import struct
import sys
import types
from collections.abc import Mapping
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def _save_safetensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """The format of safetensors for float32 and int64: the length of a JSON header, the header, the bytes."""
    header: dict[str, Any] = {}
    start = 0
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    for name, array in arrays.items():
        kind = {"float32": "F32", "int64": "I64"}[str(array.dtype)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with Path(path).open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(array.tobytes())


class _Absent(MetaPathFinder, Loader):
    """Makes empty modules of packages that this machine lacks and that are imported and not used here.

    Nothing but a data set's JPEGs is read, by OpenCV.
    """

    packages = frozenset(name for name in ("PIL", "av") if find_spec(name) is None)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in self.packages else None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return MagicMock(spec=None, __spec__=spec, __path__=[], __name__=spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def _stand_in() -> None:
    sys.meta_path.append(_Absent())
    if find_spec("safetensors") is None:
        module, part = types.ModuleType("safetensors"), types.ModuleType("safetensors.torch")
        part.save_file = _save_safetensors  # type: ignore[attr-defined]
        module.torch, module.SafetensorError = part, ValueError  # type: ignore[attr-defined]
        sys.modules |= {"safetensors": module, "safetensors.torch": part}


_stand_in()
