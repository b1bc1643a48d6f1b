"""The job: people in shards, rendered by Ray Data; a finished shard is never done again."""

import hashlib
import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np

from icface.analyzers.registry import SYNTHETIC
from icface.errors import IcfaceError
from icface.synthetic.labels import LABEL_VERSION
from pipelines.dataset import INDEX, META, OPTIONS, Dataset
from pipelines.manifest import Summary, conclude
from pipelines.preprocess.plan import Plan, remove_stale_shards
from pipelines.preprocess.progress import OnProgress, counted
from pipelines.preprocess.shards_on_ray import Actors, run_shards, unpacked
from pipelines.preprocess.write_shard import write_shard
from pipelines.shard import Shard, shard_names
from pipelines.sources import assign_splits, group_clips, shard_name
from pipelines.storage import Folder
from pipelines.synthesis.config import SINGLE, SynthesisConfig
from pipelines.synthesis.motions import motions
from pipelines.synthesis.person_rows import CROP, PersonWorker, person_clip

LICENCE = "CC0-1.0"
SOURCE = "icface.synthetic"
SHARD_PEOPLE = 4
"""People of a shard on average."""


def synthesise(config: SynthesisConfig, on_progress: OnProgress = lambda progress: None) -> Summary:
    """Make the data set, or finish it; the result is bit-identical however often it was stopped.

    `on_progress` is called about twice a second, from another thread, until this returns. Raises IcfaceError for a
    motion that cannot be read, for options that differ from those of the data set, and where a cluster does not answer.
    It is raised too while another command writes the data set.
    """
    dataset = Folder.at(config.dataset)
    if config.motion not in (None, SINGLE):  # the processes that render work in other folders
        config = replace(config, motion=Folder.at(config.motion).absolute)
    motions(config.motion)  # what is wrong with it is said before anything is written
    with dataset.alone():
        plan = make_plan(config, dataset)
        check_options(config, dataset)
        if not plan.todo and not plan.stale and dataset.exists(INDEX) and dataset.exists(META):
            meta = Dataset.open(dataset.url).meta
            if meta["shards"] == plan.signature:
                return Summary(url=dataset.url, **meta["counts"])
        remove_stale_shards(plan, dataset)
        if plan.todo:
            _run(config, plan, dataset, on_progress)
            dataset.remove_temporary()
        return replace(write_manifest(config, plan, dataset), new_clips=plan.clips_to_do)


def make_plan(config: SynthesisConfig, dataset: Folder) -> Plan:
    """The shards of the data set, and those that are left to do. More people change few of the shards there are."""
    clips = [person_clip(config, number) for number in range(config.people)]
    splits = assign_splits((clip.identity for clip in clips), config.val_fraction, config.seed)
    shards = []
    for split in sorted(set(splits.values())):
        for group in group_clips([clip for clip in clips if splits[clip.identity] == split], SHARD_PEOPLE):
            shards.append(Shard(shard_name(split, group), split, tuple(group)))
    finished, names = set(shard_names(dataset)), {shard.name for shard in shards}
    return Plan(
        shards=tuple(shards),
        todo=tuple(shard for shard in shards if shard.name not in finished),
        stale=tuple(sorted(finished - names)),
        again=(),
        shard_clips=SHARD_PEOPLE,
    )


def analyzer_record() -> dict[str, Any]:
    """What the data set says of who measured: nobody; the head and the version of the labels decide."""
    head = hashlib.sha256(files("icface.synthetic").joinpath("data/head.npz").read_bytes()).hexdigest()
    return {"name": SYNTHETIC, "options": {}, "fingerprint": f"synthetic {LABEL_VERSION}, head {head[:8]}"}


def check_options(config: SynthesisConfig, dataset: Folder) -> None:
    """Remember the options of a new data set; of one that exists, refuse other ones. Raises IcfaceError."""
    options = {"source": SOURCE, **config.naming(), "analyzer": analyzer_record()["fingerprint"]}
    try:
        known = json.loads(dataset.read(OPTIONS))
    except FileNotFoundError:
        if dataset.exists("clips") or dataset.exists(INDEX):
            raise IcfaceError(f"{dataset.url} holds something else; choose another folder for the data set") from None
        dataset.write(OPTIONS, (json.dumps(options, indent=1, sort_keys=True) + "\n").encode())
        return
    except ValueError:
        raise IcfaceError(f"{dataset.url}/{OPTIONS} is damaged; remove the data set and start again") from None
    different = [
        f"{name} was {known.get(name)!r} and is {options.get(name)!r} now"
        for name in sorted(known.keys() | options.keys())
        if known.get(name) != options.get(name)
    ]
    if different:
        raise IcfaceError(
            f"{dataset.url} was made with other options: {'; '.join(different)}. "
            "Use the same ones, or another folder for the data set"
        )


def write_manifest(config: SynthesisConfig, plan: Plan, dataset: Folder) -> Summary:
    """Write `dataset.json` and then `index.parquet`, which makes the data set readable."""
    facts = {
        "analyzer": analyzer_record(),
        "crop": CROP.to_json(),
        "options": config.naming(),
        "sources": [SOURCE],
        "licence": LICENCE,
        "shards": plan.signature,
    }
    return conclude(dataset, [shard.name for shard in plan.shards], facts)


class PersonActor:
    """A Ray Data actor that renders shards."""

    def __init__(self, config: SynthesisConfig, dataset: Folder, progress_actor: Any) -> None:
        import ray
        import torch

        torch.set_num_threads(1)  # one process a core
        self.dataset, self.progress_actor = dataset, progress_actor
        self.node = ray.get_runtime_context().get_node_id()
        self.worker = PersonWorker(config, motions(config.motion))

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for text in batch["shard"]:
            write_shard(unpacked(str(text)), self.dataset, self.worker, on_clip=self._tell)
        return {"shards": np.array([len(batch["shard"])])}

    def _tell(self, row: dict[str, Any]) -> None:
        self.progress_actor.add.remote(counted(row), self.node)


def _run(config: SynthesisConfig, plan: Plan, dataset: Folder, on_progress: OnProgress) -> None:
    """Write the shards that are left to do."""
    run_shards(
        plan,
        dataset,
        (config.address, config.workers),
        lambda progress_actor, cores, resources: Actors(
            kind=PersonActor, arguments=(config, dataset, progress_actor), count=cores
        ),
        on_progress,
        stage="rendering people",
        size=lambda shard: len(shard.clips),
    )
