"""The data set card: what `README.md` tells people, and Hugging Face's `datasets`, of a data set."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipelines.format import SPLITS, frames_schema

CARD = "README.md"
HF_SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""How `datasets` calls our splits."""


def card(meta: Mapping[str, Any], sha256: str, files: Mapping[str, str] | None = None) -> str:
    """The card of a data set by its `dataset.json`, of which `sha256` is the hash.

    `files`: the pattern of the Parquet files of each split. With them the card says which column is a picture, so
    that `datasets.load_dataset` decodes it.
    """
    counts = meta["counts"]
    splits = [split for split in SPLITS if counts["frames"][split]]
    facts = ["license: other", f"license_name: {json.dumps(meta['licence'])}"]
    if files is not None:
        columns = frames_schema(meta["options"].get("truth", ()))
        facts += ["configs:", "- config_name: default", "  data_files:"]
        for split in splits:
            facts += [f"  - split: {HF_SPLITS[split]}", f"    path: {json.dumps(files[split])}"]
        facts += ["dataset_info:", "  features:", *(f"  - {json.dumps(_feature(column))}" for column in columns)]
    rows = [f"| {split} | {counts['frames'][split]} | {counts['identities'][split]} |" for split in splits]
    size = meta["options"]["size"]
    return "\n".join(
        [
            "---",
            *facts,
            "---",
            "# Faces with action units and head pose",
            "",
            f"Made by icface {meta['icface']} from {', '.join(meta['sources'])}; licence of the clips: "
            f"{meta['licence']}. It shows people: keep to what they agreed to.",
            "",
            "| split | frames | identities |",
            "| --- | ---: | ---: |",
            *rows,
            "",
            f"Pictures are JPEGs of {size} x {size} px. Attributes were measured by "
            f"{meta['analyzer']['fingerprint']}: pose in radians with OpenFace's signs, action units 0..5, null where "
            "not measured. Rows with `held_out` are kept from training.",
            "",
            f"sha256 of the data set's dataset.json: {sha256}",
            "",
        ]
    )


def _feature(column: pa.Field) -> dict[str, Any]:
    """A column as the card's features have it: YAML reads JSON."""
    names = {"float": "float32", "halffloat": "float16"}
    if pa.types.is_binary(column.type):
        return {"name": column.name, "dtype": "image"}
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        length = {"length": kind.list_size} if pa.types.is_fixed_size_list(kind) else {}
        return {"name": column.name, "list": names[str(kind.value_type)], **length}
    return {"name": column.name, "dtype": names.get(str(kind), str(kind))}
