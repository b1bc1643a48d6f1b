"""Parts of a job that run without each other, as tasks of a Slurm array do, and the data set that they make together.

Each part writes its shards into the one data set, and then a record of what it has done. `finish` checks that all are
there and writes what an undivided run writes at its end: the files are the same, byte for byte.
"""

import json
from typing import Any

from icface.errors import IcfaceError
from pipelines.dataset import INDEX
from pipelines.manifest import Summary, conclude
from pipelines.preprocess.plan import Plan
from pipelines.shard import Shard, remove_shard, shard_names
from pipelines.storage import Folder

PARTS = "parts"
"""Folder of the records; `finish` removes it."""
NAMED = 20
"""Parts that a message names at most."""


def share(plan: Plan, part: tuple[int, int]) -> tuple[Shard, ...]:
    """The shards of part I of N: dealt out one by one, the largest first, so that parts take about as long."""
    number, count = part
    ranked = sorted(plan.shards, key=lambda shard: (-sum(clip.size for clip in shard.clips), shard.name))
    return tuple(ranked[number - 1 :: count])


def write_record(dataset: Folder, part: tuple[int, int], plan: Plan, facts: dict[str, Any]) -> None:
    """Say that a part is done. `facts`: what `dataset.json` will say beside the counts."""
    number, count = part
    record = {
        "part": number,
        "of": count,
        "shards": [shard.name for shard in plan.shards],
        "done": [shard.name for shard in share(plan, part)],
        "facts": facts,
    }
    dataset.write(f"{PARTS}/{number}-of-{count}.json", (json.dumps(record) + "\n").encode())


def finish(url: str) -> Summary:
    """Put the parts of the data set at `url` together; shards of clips that are gone are removed.

    Raises IcfaceError before anything is changed, when there are no parts or some are missing. So it does when they are
    not of one division of the same clips with the same options, or while a part is being written.
    """
    dataset = Folder.at(url)
    if not dataset.exists(PARTS):
        raise IcfaceError(
            f"{url} has no parts to put together: `icface preprocess SOURCE {url} --shard I/N` makes them"
        )
    with dataset.alone():
        records = [json.loads(dataset.read(f"{PARTS}/{name}")) for name in dataset.names(PARTS, ".json")]
        first = _checked(url, records)
        gone = set(first["shards"]) - set(shard_names(dataset))
        if gone:
            parts = sorted(record["part"] for record in records if gone & set(record["done"]))
            raise IcfaceError(f"{url}: {len(gone)} shards are missing of {_named(parts, first['of'])}: run it again")
        dataset.remove(INDEX)
        dataset.remove_temporary()
        for name in sorted(set(shard_names(dataset)) - set(first["shards"])):
            remove_shard(name, dataset)
        summary = conclude(dataset, first["shards"], first["facts"])
        dataset.remove(PARTS)
    return summary


def _checked(url: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """The first of the records, all of which agree."""
    counts = sorted({record["of"] for record in records})
    if len(counts) != 1:
        raise IcfaceError(
            f"{url} has parts of {' and of '.join(map(str, counts))}: run all parts of one division, and remove "
            f"the records of the others from {url}/{PARTS}"
        )
    records.sort(key=lambda record: int(record["part"]))
    first, count = records[0], counts[0]
    missing = sorted(set(range(1, count + 1)) - {record["part"] for record in records})
    if missing:
        raise IcfaceError(f"{url}: {len(missing)} of {count} parts are not done: {_named(missing, count)}")
    other = [record["part"] for record in records if any(record[key] != first[key] for key in ("shards", "facts"))]
    if other:
        raise IcfaceError(
            f"{url}: {_named(other, count)} saw other clips, or had other options, than part 1: run it again"
        )
    return first


def _named(parts: list[int], count: int) -> str:
    """Parts as `--shard` has them."""
    return ", ".join(f"--shard {part}/{count}" for part in parts[:NAMED]) + (", ..." if len(parts) > NAMED else "")
