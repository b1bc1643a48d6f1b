"""Data sets of synthetic people for tests, made in this process."""

from pipelines.manifest import Summary
from pipelines.preprocess.write_shard import write_shard
from pipelines.storage import Folder
from pipelines.synthesis import job
from pipelines.synthesis.config import SynthesisConfig
from pipelines.synthesis.motions import motions
from pipelines.synthesis.person_rows import PersonWorker


def build_people(config: SynthesisConfig, shards: int | None = None) -> Summary | None:
    """The same files as `synthesise` writes, in this process; only the first `shards` of them."""
    dataset = Folder.at(config.dataset)
    plan = job.make_plan(config, dataset)
    job.check_options(config, dataset)
    worker = PersonWorker(config, motions(config.motion))
    for shard in plan.todo[:shards]:
        write_shard(shard, dataset, worker, on_clip=lambda row: None)
    return job.write_manifest(config, plan, dataset) if shards is None else None
