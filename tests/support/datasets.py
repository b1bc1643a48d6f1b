"""Data sets for tests, made in this process: the same files as `icface preprocess` writes, without a start of Ray."""

from dataclasses import replace
from typing import Any

from pipelines.config import PreprocessConfig
from pipelines.manifest import Summary, write_manifest
from pipelines.preprocess.clip_worker import ClipWorker
from pipelines.preprocess.plan import check_options, make_plan
from pipelines.preprocess.write_shard import write_shard
from pipelines.storage import Folder


def flat_config(**options: Any) -> PreprocessConfig:
    """The configuration of options on one level, as the command line has them."""
    return PreprocessConfig.from_flat(options)


def changed(config: PreprocessConfig, **options: Any) -> PreprocessConfig:
    """The configuration with other values of some options."""
    return PreprocessConfig.from_flat({**config.to_flat(), **options})


def build_dataset(config: PreprocessConfig) -> Summary:
    """Make the data set that `config` asks for; `preprocess/test_restart.py` holds it against the real job's."""
    source, dataset = Folder.at(config.source), Folder.at(config.dataset)
    config = replace(config, source=source.absolute)
    plan = make_plan(config, source, dataset)
    worker = ClipWorker(config)
    try:
        analyzer = config.analyzer_record(worker.start()["fingerprint"])
        check_options(config, plan, dataset, analyzer)
        for shard in plan.todo:
            write_shard(shard, dataset, worker, on_clip=lambda row: None)
    finally:
        worker.close()
    return write_manifest(dataset, plan.shards, plan.signature, config, analyzer)
