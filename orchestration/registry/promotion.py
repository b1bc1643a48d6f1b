"""The gate before an alias: a version must be evaluated, and not worse than the one that has the alias now."""

from collections.abc import Callable, Mapping

from icface.bundle import load_bundle
from icface.errors import IcfaceError
from orchestration.registry import evaluation_store as store
from orchestration.registry import versions as registry
from orchestration.registry.evaluation import PairChoice, evaluate_alike
from orchestration.registry.gate import GROUPS, GateRule, Kept, judge
from orchestration.registry.history import give_alias
from orchestration.registry.references import resolve
from orchestration.registry.versions import Version

GATE_METRIC = "face_l1"
"""Ranks the trials of a workflow; the gate itself has a rule (`orchestration.registry.gate`)."""


def promote(
    name: str,
    number: int,
    alias: str,
    force: bool = False,
    dataset: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    rule: GateRule | None = None,
    device: str = "cpu",
) -> str:
    """Give a version an alias; returns why it was allowed, which is kept with it as a tag.

    `rule` says which scores may not get worse, and what is compared with copying the source. Only a difference whose 95
    % interval over people leaves 0 and the tolerance out counts. Both versions are evaluated again where the one that
    has the alias cannot be compared. It was then evaluated on other pairs, by another analyzer or protocol, by version
    0.1, or not at all. The pairs are those of this version's evaluation, or those of `dataset`. Stored evaluations
    stay. `progress` is told the model, the pairs done and their number. `device`: torch's name of where new evaluations
    run.

    Raises IcfaceError for a version that is not there. Unless `force`, so it does for one that is retired, has no
    evaluation, cannot be compared, or has a real regression, which is named.
    """
    found = {item.number: item for item in registry.versions(name)}
    if number not in found:
        raise IcfaceError(f"{name} has no version {number}; it has {', '.join(map(str, sorted(found))) or 'none'}")
    if (why := found[number].retired) is not None and not force:
        raise IcfaceError(f"{name} version {number} is retired ({why}); icface models retire {name} {number} --undo")
    champion = next((item for item in found.values() if alias in item.aliases), None)
    try:
        reason = _verdict(found[number], champion, dataset, progress, rule or GateRule(), device)
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

    Raises IcfaceError when the evaluation lacks it.
    """
    for group in GROUPS:
        if f"{group}/{GATE_METRIC}" in metrics:
            return f"{group}/{GATE_METRIC}", metrics[f"{group}/{GATE_METRIC}"]
    raise IcfaceError(f"the evaluation lacks {GATE_METRIC}; evaluate again")


def _verdict(
    candidate: Version,
    champion: Version | None,
    dataset: str | None,
    progress: Callable[[str, int, int], None] | None,
    rule: GateRule,
    device: str,
) -> str:
    label = f"{candidate.name} version {candidate.number}"
    if candidate.evaluation is None:
        raise IcfaceError(
            f"{label} is not evaluated: icface evaluate models:/{candidate.name}/{candidate.number} DATASET"
        )
    if champion is not None and champion.number == candidate.number:
        return "evaluated, and it had the alias already"
    mine = _stored(candidate)
    theirs = None if champion is None else _stored(champion)
    again = ""
    same = theirs is not None and mine is not None and _conditions(mine) == _conditions(theirs)
    if mine is None or (champion is not None and not same):
        others = [candidate] if champion is None else [candidate, champion]
        mine, *rest = _evaluated_again(others, dataset, progress, device)
        theirs = rest[0] if rest else None
        again = f", {'both ' if rest else ''}evaluated again"
    other = "" if champion is None else f"version {champion.number}"
    place, findings = judge(rule, mine, theirs, other)
    worse = [finding for finding in findings if finding.verdict == "worse"]
    if worse:
        than = " and than ".join(dict.fromkeys(finding.other for finding in worse))
        named = "; ".join(map(str, worse))
        raise IcfaceError(f"{label} is worse than {than} ({place}{again}): {named}")
    told = "; ".join(map(str, findings))
    start = "evaluated, and nothing had the alias" if champion is None else "not worse"
    return f"{start} ({place}{again}): {told}" if told else f"{start} ({place}{again})"


def _stored(version: Version) -> Kept | None:
    """The version's last evaluation with its pairs; None where there is none, or it did not keep them."""
    if version.evaluation is None or not version.run_id:
        return None
    report, measured = store.stored_evaluation(version.run_id), store.stored_measurements(version.run_id)
    if report is None or measured is None or not store.is_of(report, version.evaluation):
        return None
    return Kept(report=report, measured=measured)


def _conditions(kept: Kept) -> str:
    return store.conditions(kept.report)


def _evaluated_again(
    versions: list[Version], dataset: str | None, progress: Callable[[str, int, int], None] | None, device: str
) -> list[Kept]:
    """The versions on the pairs of the first one's evaluation, or on those of `dataset`."""
    choice = PairChoice(dataset=dataset) if dataset else PairChoice.kept((versions[0].evaluation or {}).get("pairs"))
    numbers = " and ".join(str(item.number) for item in versions)
    whom = f"{versions[0].name} version{'s' if len(versions) > 1 else ''} {numbers}"
    what = "were evaluated on other pairs" if len(versions) > 1 else "has an evaluation without its pairs"
    if choice is None:
        raise IcfaceError(f"{whom} {what}; name the data set to evaluate on with --dataset")
    models = {}
    for item in versions:
        reference = resolve(f"models:/{item.name}/{item.number}")
        models[f"models:/{item.name}/{item.number}"] = (reference, load_bundle(reference.folder))
    try:
        return list(evaluate_alike(models, choice, progress, device))
    except IcfaceError as error:
        raise IcfaceError(f"{whom} {what}, and cannot be evaluated again: {error}") from None
