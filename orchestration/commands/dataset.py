"""`icface dataset relabel|export|forget|synthesise`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from icface.errors import IcfaceError
from orchestration.commands import Verb, dispatch
from orchestration.terminal import Reporter
from pipelines.synthesis.config import SynthesisConfig


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
        else:
            reporter.say(f"No model registered in {uri} was trained on this data set.")


def _synthesise(options: SynthesisConfig) -> None:
    from orchestration.reporting import synthesise

    with Reporter() as reporter:
        synthesise(options, reporter)


VERBS = {
    "relabel": Verb(options=Relabel, run=_relabel),
    "export": Verb(options=Export, run=_export, positional=False),
    "forget": Verb(options=Forget, run=_forget),
    "synthesise": Verb(options=SynthesisConfig, run=_synthesise),
}


def main(argv: Sequence[str]) -> None:
    dispatch("dataset", VERBS, argv, "DATASET ...")
