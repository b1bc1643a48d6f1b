"""A data set in the formats of others: WebDataset's tar files, and a folder that Hugging Face's `datasets` loads."""

import io
import json
import tarfile
from collections.abc import Callable, Collection
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from icface.attributes import ATTRIBUTE_NAMES
from icface.errors import IcfaceError
from pipelines.card import CARD, HF_SPLITS, card
from pipelines.dataset import Dataset, RowGroup
from pipelines.format import SPLITS, TRUTH, frames_schema
from pipelines.storage import Folder

Kind = Literal["webdataset", "hf"]
DATA = "data"
"""Folder of the Parquet files that `datasets` loads."""
_PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
"""How `datasets` stores a picture."""
FACTS = ("identity", "clip", "track", "frame", "held_out", *ATTRIBUTE_NAMES)
"""What a WebDataset sample has beside its picture."""


def export(url: str, kind: Kind, output: str, on_file: Callable[[int, int], None] | None = None) -> list[str]:
    """Write the data set at `url` to the new folder `output`; the files' names.

    `webdataset`: `SPLIT/SHARD.tar` with a `.jpg` and a `.json` (attributes; null where not measured) a frame. Where the
    data set has them, `.mask.png`, `.visibility.png` and `.flow.npy`, too.
    `hf`: Parquet files whose schema tells `datasets.load_dataset` that `image` is a picture, which it decodes.
    Both have a data set card with counts, sources and licence, written last.

    Raises IcfaceError when there is no data set, or something lies in `output` already.
    """
    dataset, target = Dataset.open(url), Folder.at(output)
    with target.alone():
        if not target.empty:
            raise IcfaceError(f"{output} is not empty; choose another folder to export to")
        try:
            return _fill(target, dataset, kind, on_file)
        except BaseException:
            # Half an export would be in the way of the next try, and a later `forget` does not reach it.
            for name in (*SPLITS, DATA, CARD):
                target.remove(name)
            raise


def _fill(target: Folder, dataset: Dataset, kind: Kind, on_file: Callable[[int, int], None] | None) -> list[str]:
    files: dict[str, list[RowGroup]] = {}
    for split in SPLITS:
        for held_out in (False, True) if split == "train" else (False,):
            for group in dataset.row_groups(split, held_out=held_out):
                files.setdefault(group.file, []).append(group)
    written = []
    truth = [name for part in dataset.truth for name in TRUTH[part].names]
    for number, (file, groups) in enumerate(sorted(files.items()), start=1):
        split, shard = groups[0].split, file.rsplit("/", 1)[-1].removesuffix(".parquet")
        name = f"{split}/{shard}.tar" if kind == "webdataset" else f"{DATA}/{HF_SPLITS[split]}-{shard}.parquet"
        with target.writing(name) as path:
            if kind == "webdataset":
                with tarfile.open(path, "w") as tar:
                    for group in sorted(groups):
                        _add(tar, dataset.read(group, ["image", *FACTS, *truth]), dataset.size)
            else:
                schema = _hf_schema(dataset.truth)
                with pq.ParquetWriter(path, schema, compression="ZSTD") as writer:
                    for group in sorted(groups):
                        writer.write_table(_with_pictures(dataset.read(group), schema))
        written.append(name)
        if on_file is not None:
            on_file(number, len(files))
    files_of = {split: f"{DATA}/{HF_SPLITS[split]}-*.parquet" for split in SPLITS} if kind == "hf" else None
    target.write(CARD, card(dataset.meta, dataset.hash, files_of).encode())
    return [*written, CARD]


def _hf_schema(truth: Collection[str]) -> pa.Schema:
    """The columns of `frames` with `datasets`' pictures, and the metadata by which it knows them."""

    def feature(kind: pa.DataType) -> dict[str, Any]:
        if kind == _PICTURE:
            return {"_type": "Image"}
        if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            length = {"length": kind.list_size} if pa.types.is_fixed_size_list(kind) else {}
            return {"_type": "List", "feature": feature(kind.value_type), **length}
        names = {"float": "float32", "halffloat": "float16"}
        return {"_type": "Value", "dtype": names.get(str(kind), str(kind))}

    columns = frames_schema(truth)
    schema = pa.schema(
        [pa.field(field.name, _PICTURE) if pa.types.is_binary(field.type) else field for field in columns]
    )
    features = {field.name: feature(field.type) for field in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _with_pictures(table: pa.Table, schema: pa.Schema) -> pa.Table:
    for place, field in enumerate(schema):
        if field.type == _PICTURE:
            images = table[field.name].combine_chunks()
            pictures = pa.StructArray.from_arrays([images, pa.nulls(len(table), pa.string())], fields=list(_PICTURE))
            table = table.set_column(place, field, pictures)
    return table.cast(schema)


def _add(tar: tarfile.TarFile, table: pa.Table, size: int) -> None:
    for row in table.to_pylist():
        # A key ends at the first dot of the file's name.
        key = f"{row['clip']}/{row['track']}-{row['frame']:06d}".replace(".", "_")
        _member(tar, f"{key}.jpg", row.pop("image"))
        for name in ("mask", "visibility"):
            if name in row:
                _member(tar, f"{key}.{name}.png", row.pop(name))
        if "flow" in row:
            flow = io.BytesIO()
            np.save(flow, np.array(row.pop("flow"), np.float16).reshape(size, size, 2))
            _member(tar, f"{key}.flow.npy", flow.getvalue())
        _member(tar, f"{key}.json", json.dumps(row).encode())


def _member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
