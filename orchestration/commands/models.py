"""`icface models list|promote|import-release`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from orchestration.commands import parse
from orchestration.terminal import Reporter


@dataclass(frozen=True, kw_only=True)
class List:
    """Registered versions with their aliases, licence and scores."""

    name: str | None = None
    """Of this model alone."""


@dataclass(frozen=True, kw_only=True)
class Promote:
    """Give a version an alias; refused when it is not evaluated, or worse than the version that has it."""

    name: str
    """Of the registered model."""
    version: int
    """Its number."""
    alias: str = "champion"
    """The alias, as in models:/NAME@champion."""
    force: bool = False
    """Do it all the same; the reason is kept with the version."""


@dataclass(frozen=True, kw_only=True)
class ImportRelease:
    """Turn the authors' released weights into a bundle, marked non-commercial."""

    bundle: Annotated[str, tyro.conf.Positional]
    """Folder that becomes the bundle."""
    generator: str
    """latest_net_G.pth."""
    neutraliser: str
    """latest_net_GN.pth."""
    pose_range: float = 0.7
    """Radians that the pose inputs span to each side: 0.7, or 0.5 for weights of the first training code."""


def main(argv: Sequence[str]) -> None:
    verbs = {"list": _list, "promote": _promote, "import-release": _import_release}
    words = {"list": List, "promote": Promote, "import-release": ImportRelease}
    if argv and argv[0] in ("-h", "--help"):
        print("usage: icface models COMMAND ...\n")
        for verb, kind in words.items():
            print(f"  {verb:<15} {(kind.__doc__ or '').splitlines()[0]}")
        return
    if not argv or argv[0] not in verbs:
        print(f"icface models: name one of {', '.join(verbs)}", file=sys.stderr)
        raise SystemExit(2)
    verbs[argv[0]](argv[1:])


def _list(argv: Sequence[str]) -> None:
    options = parse(List, argv, "models list")
    from orchestration import registry
    from orchestration.tracking import use_tracking

    uri = use_tracking()
    with Reporter() as reporter:
        found = registry.versions(options.name)
        if not found:
            reporter.say(f"no model is registered in {uri}: `icface train DATASET --register NAME` makes one")
            return
        rows = [("model", "version", "aliases", "made", "licence", "face L1")]
        for item in found:
            metrics = (item.evaluation or {}).get("metrics", {})
            scores = [f"{key.split('/')[0]} {value:.3f}" for key, value in metrics.items() if key.endswith("/face_l1")]
            rows.append(
                (
                    item.name,
                    str(item.number),
                    ", ".join(item.aliases) or "–",
                    f"{item.created:%Y-%m-%d %H:%M}",
                    item.licence,
                    ", ".join(scores) or "not evaluated",
                )
            )
        reporter.table("Registered models", rows)


def _promote(argv: Sequence[str]) -> None:
    options = parse(Promote, argv, "models promote")
    from orchestration import registry
    from orchestration.tracking import use_tracking

    use_tracking()
    with Reporter() as reporter:
        reason = registry.promote(options.name, options.version, options.alias, options.force)
        reporter.result(promoted=f"models:/{options.name}@{options.alias}", version=options.version, reason=reason)


def _import_release(argv: Sequence[str]) -> None:
    # Its two weights are flags although they are required: three paths in a row would be mixed up.
    options = parse(ImportRelease, argv, "models import-release", positional=False)
    from icface.bundle import save_bundle
    from icface.release import import_release

    model = import_release(options.generator, options.neutraliser, options.pose_range)
    save_bundle(model, options.bundle)
    with Reporter() as reporter:
        reporter.result(bundle=options.bundle, licence=model.config.licence)
