"""`icface models list|show|history|compare|promote|rollback|retire|delete|export|serve|import-release`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from orchestration.commands import Verb, dispatch, model_versions
from orchestration.terminal import Reporter


@dataclass(frozen=True, kw_only=True)
class List:
    """List registered versions with aliases, licence and scores."""

    name: str | None = None
    """Only this model."""


@dataclass(frozen=True, kw_only=True)
class Promote:
    """Give a version an alias. It must be evaluated, and not worse than the version that has the alias."""

    name: str
    """Name of the registered model."""
    version: int
    """Version number."""
    alias: str = "champion"
    """The alias, as in models:/NAME@champion."""
    force: bool = False
    """Promote a version that the gate refuses. The reason is stored with the version."""
    dataset: str | None = None
    """Data set for a new evaluation of both versions, if their evaluations cannot be compared. Default: the one that
    this version was evaluated on."""
    rule: str | None = None
    """YAML file: which scores may not get worse, and by how much. Docs: registry.md."""
    gpu: bool = False
    """Run the networks of a new evaluation on the GPU, MediaPipe's too (`mediapipe-torch`)."""


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare scores, pictures and configurations of several models."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="(required)")]
    """Two or more models: starter, bundle folders, checkpoints as runs/NAME@STEP, runs:/ID/bundle,
    models:/NAME/VERSION or models:/NAME@ALIAS."""
    dataset: str | None = None
    """Data set for a new evaluation, if the stored ones cannot be compared. Its faces are shown."""
    per_track: int = 50
    """Driving frames per track, evenly spread."""
    tracks: int | None = None
    """Maximum tracks per split, evenly spread."""
    gpu: bool = False
    """Run the networks of a new evaluation on the GPU, MediaPipe's too (`mediapipe-torch`)."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "comparison.html"
    """HTML page to write. The picture is written beside it, as .png."""

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise ValueError("name two or more models")


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a model to a folder, as a bundle or as ONNX."""

    model: Annotated[str, tyro.conf.Positional]
    """starter, a bundle folder, a checkpoint as runs/NAME@STEP, runs:/ID/bundle, models:/NAME/VERSION or
    models:/NAME@ALIAS."""
    output: Annotated[str, tyro.conf.Positional]
    """New folder."""
    format: Literal["bundle", "onnx"] = "bundle"
    """`onnx`: neutraliser and generator for other runtimes."""


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Answer HTTP requests: a portrait and attributes in, a PNG out."""

    model: str
    """starter, a bundle folder, a checkpoint as runs/NAME@STEP, runs:/ID/bundle, models:/NAME/VERSION or
    models:/NAME@ALIAS."""
    host: str = "127.0.0.1"
    """Address to listen on. Everybody who reaches it may use the model."""
    port: int = 5001
    """Port to listen on."""
    workers: int = 1
    """Server processes."""

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError(f"port must lie in 1..65535, not {self.port}")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, not {self.workers}")


@dataclass(frozen=True, kw_only=True)
class ImportRelease:
    """Convert the authors' released weights to a bundle, marked non-commercial."""

    bundle: Annotated[str, tyro.conf.Positional]
    """Folder of the new bundle."""
    generator: str
    """Path of latest_net_G.pth."""
    neutraliser: str
    """Path of latest_net_GN.pth."""
    pose_range: float = 0.7
    """Range of the pose inputs, radians: 0.7, or 0.5 for weights of the first training code."""


def _list(options: List) -> None:
    from orchestration.registry import versions as registry
    from orchestration.tracking import heartbeat
    from orchestration.tracking.run_logger import use_tracking

    uri = use_tracking()
    heartbeat.mark_dead_runs()
    with Reporter() as reporter:
        found = registry.versions(options.name)
        if not found:
            reporter.say(f"no model is registered in {uri}: `icface train DATASET --register NAME` makes one")
            return
        rows = [("model", "version", "aliases", "made", "licence", "face L1 (copying the source)")]
        for item in found:
            evaluation = item.evaluation or {}
            copied = evaluation.get("copy_source", {})
            scores = [
                f"{key.split('/')[0]} {value:.3f}" + (f" ({copied[key]:.3f})" if key in copied else "")
                for key, value in evaluation.get("metrics", {}).items()
                if key.endswith("/face_l1")
            ]
            rows.append(
                (
                    item.name,
                    str(item.number),
                    ", ".join([*item.aliases, *(["retired"] if item.retired is not None else [])]) or "–",
                    f"{item.created:%Y-%m-%d %H:%M}",
                    item.licence,
                    ", ".join(scores) or "not evaluated",
                )
            )
        reporter.table("Registered models", rows)


def _promote(options: Promote) -> None:
    from orchestration.devices import device_asked
    from orchestration.registry import versions as registry
    from orchestration.registry.gate import GateRule
    from orchestration.registry.promotion import promote
    from orchestration.tracking.run_logger import use_tracking

    use_tracking()
    with Reporter() as reporter:
        reason = promote(
            options.name,
            options.version,
            options.alias,
            options.force,
            options.dataset,
            lambda label, done, total: reporter.progress(f"evaluating {label}", done, total),
            GateRule.read(options.rule) if options.rule else None,
            device_asked(options.gpu),
        )
        licence = next(item.licence for item in registry.versions(options.name) if item.number == options.version)
        reporter.result(
            promoted=f"models:/{options.name}@{options.alias}", version=options.version, reason=reason, licence=licence
        )


def _compare(options: Compare) -> None:
    from pathlib import Path

    from icface.images import encode_png
    from orchestration.devices import device_asked
    from orchestration.registry.comparison import compare
    from orchestration.tracking import pages
    from orchestration.tracking.run_logger import use_tracking
    from pipelines.storage import Folder

    use_tracking()
    with Reporter() as reporter:
        found = compare(
            options.models,
            options.dataset,
            options.per_track,
            options.tracks,
            lambda label, done, total: reporter.progress(f"evaluating {label}", done, total),
            device_asked(options.gpu),
        )
        reporter.say(f"{found.origin()} {found.counts()}")
        reporter.table("Metrics", found.metrics())
        reporter.table("What differs in their making", found.configs())
        page = Path(options.output).absolute()
        found.write(page)
        facts: dict[str, object] = {}
        if found.samples is not None:
            Folder.at(page.parent).write(f"{page.stem}.png", encode_png(found.samples))
            facts["picture"] = page.with_suffix(".png")
        if (address := found.mlflow_page()) is not None:
            facts["mlflow_page"] = address
            if command := pages.starting():
                facts["mlflow_server"] = command
        reporter.result(page=page, **facts)


def _export(options: Export) -> None:
    from orchestration.registry.export import export

    with Reporter() as reporter:
        model = export(options.model, options.output, options.format)
        reporter.result(exported=options.output, format=options.format, licence=model.config.licence)


def _serve(options: Serve) -> None:
    from icface.bundle import load_bundle
    from orchestration.registry.references import resolve
    from orchestration.registry.serving import serve

    with Reporter() as reporter:
        licence = load_bundle(resolve(options.model).folder).config.licence
        reporter.say(
            f"{options.model} (licence: {licence}) answers at http://{options.host}:{options.port}/invocations; "
            "Ctrl-C ends it",
            licence=licence,
        )
        serve(options.model, options.host, options.port, options.workers)


def _import_release(options: ImportRelease) -> None:
    from icface.bundle import save_bundle
    from icface.release import import_release

    model = import_release(options.generator, options.neutraliser, options.pose_range)
    save_bundle(model, options.bundle)
    with Reporter() as reporter:
        reporter.result(bundle=options.bundle, licence=model.config.licence)


VERBS = {
    "list": Verb(options=List, run=_list),
    "show": Verb(options=model_versions.Show, run=model_versions.show),
    "history": Verb(options=model_versions.History, run=model_versions.history),
    "compare": Verb(options=Compare, run=_compare, positional=False),
    "promote": Verb(options=Promote, run=_promote),
    "rollback": Verb(options=model_versions.Rollback, run=model_versions.rollback),
    "retire": Verb(options=model_versions.Retire, run=model_versions.retire),
    "delete": Verb(options=model_versions.Delete, run=model_versions.delete),
    "export": Verb(options=Export, run=_export, positional=False),
    "serve": Verb(options=Serve, run=_serve),
    # Its two weights are flags although they are required: three paths in a row would be mixed up.
    "import-release": Verb(options=ImportRelease, run=_import_release, positional=False),
}


def main(argv: Sequence[str]) -> None:
    dispatch("models", VERBS, argv, "...")
