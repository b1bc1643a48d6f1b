"""The gate before an alias: a version must be evaluated, and no worse than the one that has the alias now."""

from collections.abc import Callable, Mapping

from icface.bundle import load_bundle
from icface.errors import IcfaceError
from orchestration.registry import versions as registry
from orchestration.registry.evaluation import PairChoice, evaluate_alike
from orchestration.registry.history import give_alias
from orchestration.registry.references import resolve
from orchestration.registry.versions import Version

GATE_GROUPS = ("val", "held_out", "cross")
"""The first that was evaluated decides: people who were not trained on come first."""
GATE_METRIC = "face_l1"


def promote(
    name: str,
    number: int,
    alias: str,
    force: bool = False,
    dataset: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> str:
    """Give a version an alias; returns why it was allowed, which is kept with it as a tag.

    Where the version that has the alias was evaluated on other pairs, by another analyzer or protocol, or not at all,
    both are evaluated again on the pairs of this version's evaluation, or on those of `dataset`. `progress` is told
    the model, the pairs done and their number.

    Refused (IcfaceError), unless `force`: a version without an evaluation, one whose face-box L1 is worse than that
    of the version with the alias, and one that cannot be compared with it.
    """
    found = {item.number: item for item in registry.versions(name)}
    if number not in found:
        raise IcfaceError(f"{name} has no version {number}; it has {', '.join(map(str, sorted(found))) or 'none'}")
    if (why := found[number].retired) is not None and not force:
        raise IcfaceError(f"{name} version {number} is retired ({why}); icface models retire {name} {number} --undo")
    champion = next((item for item in found.values() if alias in item.aliases), None)
    try:
        reason = _verdict(found[number], champion, dataset, progress)
    except IcfaceError as error:
        if not force:
            raise
        reason = f"forced: {error}"
    give_alias(name, number, alias, reason)
    return reason


def gate_score(metrics: Mapping[str, float]) -> tuple[str, float]:
    """The metric that decides between versions and its value, lower is better.

    >>> gate_score({"held_out/face_l1": 0.1, "val/face_l1": 0.2, "val/ssim": 0.9})
    ('val/face_l1', 0.2)
    """
    for group in GATE_GROUPS:
        if f"{group}/{GATE_METRIC}" in metrics:
            return f"{group}/{GATE_METRIC}", metrics[f"{group}/{GATE_METRIC}"]
    raise IcfaceError(f"the evaluation lacks {GATE_METRIC}; evaluate again")


def _verdict(
    candidate: Version,
    champion: Version | None,
    dataset: str | None,
    progress: Callable[[str, int, int], None] | None,
) -> str:
    label = f"{candidate.name} version {candidate.number}"
    if candidate.evaluation is None:
        raise IcfaceError(
            f"{label} is not evaluated: icface evaluate models:/{candidate.name}/{candidate.number} DATASET"
        )
    if champion is None:
        return "evaluated, and nothing had the alias"
    if champion.number == candidate.number:
        return "evaluated, and it had the alias already"
    mine, theirs = candidate.evaluation, champion.evaluation
    again = ""
    if theirs is None or mine.get("conditions") != theirs.get("conditions"):
        mine, theirs = _evaluated_anew(candidate, champion, dataset, progress)
        again = ", both evaluated again"
    key, new = gate_score(mine["metrics"])
    old = theirs["metrics"].get(key)
    if old is None:
        raise IcfaceError(f"{label} and version {champion.number} have no metric in common; evaluate both again")
    if new > old:
        raise IcfaceError(f"{label} is worse than version {champion.number}: {key} {new:.4f} against {old:.4f}{again}")
    return f"{key} {new:.4f} against {old:.4f} of version {champion.number}{again}"


def _evaluated_anew(
    candidate: Version,
    champion: Version,
    dataset: str | None,
    progress: Callable[[str, int, int], None] | None,
) -> list[dict[str, dict[str, float]]]:
    kept = PairChoice.kept((candidate.evaluation or {}).get("pairs"))
    choice = PairChoice(dataset=dataset) if dataset else kept
    both = f"{candidate.name} versions {candidate.number} and {champion.number}"
    if choice is None:
        raise IcfaceError(f"{both} were evaluated on other pairs; name the data set to evaluate both on with --dataset")
    models = {}
    for item in (candidate, champion):
        reference = resolve(f"models:/{item.name}/{item.number}")
        models[f"models:/{item.name}/{item.number}"] = (reference, load_bundle(reference.folder))
    try:
        reports = evaluate_alike(models, choice, progress)
    except IcfaceError as error:
        raise IcfaceError(f"{both} were evaluated on other pairs, and cannot be evaluated again: {error}") from None
    return [{"metrics": report.metrics()} for report in reports]
