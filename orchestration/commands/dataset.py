"""`icface dataset relabel|export|forget|merge|subset|split|verify|finish|synthesise`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from icface.errors import IcfaceError
from orchestration.commands import Verb, dispatch
from orchestration.terminal import Reporter
from pipelines.synthesis.config import SynthesisConfig

if TYPE_CHECKING:
    from pipelines.manifest import Summary


@dataclass(frozen=True, kw_only=True)
class Relabel:
    """Compute the attributes again, without the videos."""

    dataset: str
    """A data set. A path or fsspec URL."""
    openface_root: str | None = None
    """Take the attributes from OpenFace's csv files in this folder."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a data set in another format."""

    dataset: Annotated[str, tyro.conf.Positional]
    """A data set. A path or fsspec URL."""
    output: Annotated[str, tyro.conf.Positional]
    """New folder. A path or fsspec URL."""
    to: Literal["webdataset", "hf"]
    """`webdataset`: tar files. `hf`: a folder for `datasets.load_dataset`."""


@dataclass(frozen=True, kw_only=True)
class Forget:
    """Remove people or clips permanently."""

    dataset: str
    """A data set. A path or fsspec URL."""
    identity: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Remove all clips of this identity. May be repeated."""
    clip: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Remove this clip (identity/video/clip). May be repeated."""

    def __post_init__(self) -> None:
        if not self.identity and not self.clip:
            raise IcfaceError("nobody to forget: give --identity NAME or --clip identity/video/clip")


@dataclass(frozen=True, kw_only=True)
class Finish:
    """Put the parts together that `icface preprocess --shard I/N` made."""

    dataset: str
    """A data set. A path or fsspec URL."""


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Join two data sets into a new one."""

    first: str
    """A data set. A path or fsspec URL."""
    second: str
    """Another one, measured and cut in the same way."""
    output: str
    """New folder. A path or fsspec URL."""


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Write the frames that meet a condition as a new data set."""

    dataset: Annotated[str, tyro.conf.Positional]
    """A data set. A path or fsspec URL."""
    output: Annotated[str, tyro.conf.Positional]
    """New folder. A path or fsspec URL."""
    where: str
    """SQL condition on the columns of a frame and `split`, as in "AU12 > 1.5 and split = 'train'". Needs DuckDB."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Write the data set again with other people in `val`, without decoding."""

    dataset: Annotated[str, tyro.conf.Positional]
    """A data set. A path or fsspec URL."""
    output: Annotated[str, tyro.conf.Positional]
    """New folder. A path or fsspec URL."""
    val_fraction: float
    """Share of the identities in `val`. The official test set stays as it is."""
    seed: int = 0
    """Random seed for the choice."""


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Check all files against each other; exit status 1 with what is wrong."""

    dataset: str
    """A data set. A path or fsspec URL."""
    source: str | None = None
    """Compare the checksums of the clips in this folder too."""


def _relabel(options: Relabel) -> None:
    from pipelines.curation.relabel import relabel

    with Reporter() as reporter:
        done = relabel(
            options.dataset, options.openface_root, lambda done, all_: reporter.progress("relabelling", done, all_)
        )
        reporter.result(
            dataset=options.dataset, analyzer=done.analyzer["fingerprint"], frames=sum(done.summary.frames.values())
        )


def _export(options: Export) -> None:
    from pipelines.curation.export import export

    with Reporter() as reporter:
        files = export(
            options.dataset, options.to, options.output, lambda done, all_: reporter.progress("exporting", done, all_)
        )
        reporter.result(output=options.output, files=len(files))


def _forget(options: Forget) -> None:
    from pipelines.curation.forget import forget

    with Reporter() as reporter:
        done = forget(options.dataset, options.identity, options.clip)
        reporter.result(dataset=options.dataset, clips=len(done.clips), shards_rewritten=done.shards)
        from orchestration.registry import versions as registry
        from orchestration.tracking.run_logger import use_tracking

        uri = use_tracking()
        trained = registry.trained_on(options.dataset, done.hash_before)
        if trained:
            rows = [("model", "version", "aliases")]
            rows += [(item.name, str(item.number), ", ".join(item.aliases) or "–") for item in trained]
            reporter.table("Registered models that were trained on this data set while they were in it", rows)
            reporter.say(f"all runs to train again, with their commands: icface train --without {options.dataset}")
        else:
            reporter.say(f"No model registered in {uri} was trained on this data set.")


def _finish(options: Finish) -> None:
    from pipelines.preprocess.parts import finish

    with Reporter() as reporter:
        done = finish(options.dataset)
        reporter.result(dataset=options.dataset, clips=done.clips, frames=sum(done.frames.values()))


def _merge(options: Merge) -> None:
    from pipelines.curation.derive import merge

    _show(merge([options.first, options.second], options.output))


def _subset(options: Subset) -> None:
    from pipelines.curation.derive import subset

    _show(subset(options.dataset, options.output, options.where))


def _split(options: Split) -> None:
    from pipelines.curation.derive import split

    _show(split(options.dataset, options.output, options.val_fraction, options.seed))


def _show(made: "Summary") -> None:
    """Show what a new data set holds."""
    with Reporter() as reporter:
        reporter.result(
            dataset=made.url,
            clips=made.clips,
            frames=", ".join(f"{split} {count}" for split, count in made.frames.items()),
            identities=", ".join(f"{split} {count}" for split, count in made.identities.items()),
        )


def _verify(options: Verify) -> None:
    from pipelines.curation.verify import verify

    with Reporter() as reporter:
        found = verify(options.dataset, options.source, lambda done, all_: reporter.progress("checking", done, all_))
        if found.problems:
            reporter.table(f"{options.dataset} is not whole", [("problem",), *((line,) for line in found.problems)])
            raise IcfaceError(f"{options.dataset}: {len(found.problems)} problems; the first: {found.problems[0]}")
        reporter.result(dataset=options.dataset, shards=found.shards, row_groups=found.row_groups, frames=found.frames)


def _synthesise(options: SynthesisConfig) -> None:
    from orchestration.reporting import synthesise

    with Reporter() as reporter:
        synthesise(options, reporter)


VERBS = {
    "relabel": Verb(options=Relabel, run=_relabel),
    "export": Verb(options=Export, run=_export, positional=False),
    "forget": Verb(options=Forget, run=_forget),
    "merge": Verb(options=Merge, run=_merge),
    "subset": Verb(options=Subset, run=_subset, positional=False),
    "split": Verb(options=Split, run=_split, positional=False),
    "verify": Verb(options=Verify, run=_verify),
    "finish": Verb(options=Finish, run=_finish),
    "synthesise": Verb(options=SynthesisConfig, run=_synthesise),
}


def main(argv: Sequence[str]) -> None:
    dispatch("dataset", VERBS, argv, "DATASET ...")
