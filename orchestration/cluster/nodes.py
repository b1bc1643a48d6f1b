"""Looking at every node of a Ray cluster: would a run that uses all of them be one run?

A run is split where nodes have other versions, read another data set or see another checkpoint store. It is lost where
they do not reach the tracking server.
"""

import hashlib
import secrets
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from icface.errors import IcfaceError, first_line
from orchestration.cluster.versions import versions
from pipelines.cluster import check_every_node_sees, on_node
from pipelines.dataset import META, Dataset
from pipelines.storage import TEMPORARY, Folder

ANSWER_SECONDS = 120.0
"""How long a node may take to look; a busy one starts a process first."""
SERVER_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """What one node said. An empty sentence: all is well, or it was not asked."""

    node: str
    """Its address."""
    versions: Mapping[str, str] = field(default_factory=dict)
    cores: int = 0
    gpus: int = 0
    """That Ray gives out."""
    gpu_names: tuple[str, ...] = ()
    """Names of the GPUs that the GPU driver reports."""
    dataset_hash: str | None = None
    dataset_trouble: str = ""
    storage_trouble: str = ""
    tracking_trouble: str = ""
    unreachable: bool = False
    """It did not answer."""


def probe_nodes(
    dataset: str | None = None, storage: str | None = None, tracking: str | None = None
) -> list[NodeReport]:
    """Ask every living node of the cluster that this process is connected to.

    `dataset` is opened and a row group read; into `storage` each writes a file, which all others must see; `tracking`
    is the server's URI. Raises IcfaceError when this machine cannot write to the storage itself.
    """
    nodes = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeManagerAddress"]))
    mark = secrets.token_hex(8)
    place = Folder.at(storage).absolute if storage else None
    data = Folder.at(dataset).absolute if dataset else None
    mine = _name(mark, "driver")
    if place:
        try:
            Folder.at(place).write(mine, b"driver")
        except Exception as error:  # whatever the store raises
            raise IcfaceError(f"{storage} cannot be written to from here: {first_line(error)}") from None
    try:
        asked = {
            node["NodeID"]: on_node(_look, node["NodeID"]).remote(data, place, tracking, mark, node["NodeID"])
            for node in nodes
        }
        reports = {node["NodeID"]: _answer(node, asked[node["NodeID"]]) for node in nodes}
        if place:
            _look_for_each_other(place, mark, reports)
    finally:
        if place:
            for name in [mine, *(_name(mark, node["NodeID"]) for node in nodes)]:
                with suppress(Exception):  # what cannot be removed could not be written either, which was said
                    Folder.at(place).remove(name)
    return list(reports.values())


def _look_for_each_other(place: str, mark: str, reports: dict[str, NodeReport]) -> None:
    """Ask each node that wrote its file whether it sees those of the others."""
    wrote = [key for key, report in reports.items() if not report.unreachable and not report.storage_trouble]
    names = [_name(mark, "driver"), *(_name(mark, key) for key in wrote)]
    asked = {key: on_node(_missing, key).remote(place, names) for key in wrote}
    for key, answer in asked.items():
        try:
            missing = ray.get(answer, timeout=ANSWER_SECONDS)
        except ray.exceptions.RayError as error:
            reports[key] = replace(reports[key], storage_trouble=f"cannot be looked at ({first_line(error)})")
            continue
        if missing:
            trouble = f"does not show {missing} of the {len(names)} files that all wrote"
            reports[key] = replace(reports[key], storage_trouble=trouble)


def problems(reports: Sequence[NodeReport], wanted: Mapping[str, str], dataset_hash: str | None = None) -> list[str]:
    """Sentences about what would split or lose a run; `wanted` are the driver's versions, `dataset_hash` is what the
    driver reads.
    """
    said = []
    for report in reports:
        if report.unreachable:
            said.append(f"node {report.node} does not answer")
            continue
        other = {name: found for name, found in report.versions.items() if wanted.get(name) != found}
        if other:
            differences = ", ".join(f"{name} {found} instead of {wanted.get(name)}" for name, found in other.items())
            said.append(f"node {report.node} has {differences}: install the same requirements.lock on every node")
        if report.gpus > len(report.gpu_names):
            said.append(f"node {report.node} offers {report.gpus} GPUs and its driver shows {len(report.gpu_names)}")
        if report.dataset_trouble:
            said.append(f"node {report.node} cannot read the data set: {report.dataset_trouble}")
        elif dataset_hash and report.dataset_hash and report.dataset_hash != dataset_hash:
            said.append(f"node {report.node} reads another data set at that place: give a URL that every node sees")
        if report.storage_trouble:
            said.append(f"the storage on node {report.node} {report.storage_trouble}: give a URL that every node sees")
        if report.tracking_trouble:
            said.append(f"node {report.node} does not reach the tracking server: {report.tracking_trouble}")
    return said


def check_cluster_consistency(tracking: str | None, folders: Mapping[str, tuple[Folder, str]]) -> None:
    """Raise IcfaceError for what would split or lose a run on the nodes that there are now.

    `folders`: what an error calls each folder -> the folder, and a file in it that every node must see alike.
    `tracking`: the tracking server; None for nodes on this machine, whose versions and server are this process's.
    Nodes that the autoscaler starts later are made from the same file; nothing is asked of a cluster of one node.
    """
    if len([node for node in ray.nodes() if node["Alive"]]) < 2:
        return
    for what, (folder, file) in folders.items():
        check_every_node_sees(folder, file, what)
    found = problems(probe_nodes(tracking=tracking), versions()) if tracking is not None else []
    if found:
        raise IcfaceError(f"{'; '.join(found)} (icface doctor --address shows every node)")


def _answer(node: Mapping[str, Any], asked: Any) -> NodeReport:
    resources = node["Resources"]
    facts: dict[str, Any] = {
        "node": str(node["NodeManagerAddress"]),
        "cores": int(resources.get("CPU", 0)),
        "gpus": int(resources.get("GPU", 0)),
    }
    try:
        return NodeReport(**facts, **ray.get(asked, timeout=ANSWER_SECONDS))
    except ray.exceptions.RayError:
        return NodeReport(**facts, unreachable=True)


def _look(dataset: str | None, storage: str | None, tracking: str | None, mark: str, node: str) -> dict[str, Any]:
    """Runs on the node."""
    found: dict[str, Any] = {"versions": versions(), "gpu_names": _gpu_names()}
    if dataset:
        try:
            found["dataset_hash"] = hashlib.sha256(Folder.at(dataset).read(META)).hexdigest()
            data = Dataset.open(dataset)
            groups = data.row_groups("train") or data.row_groups("val")
            if groups:
                data.read(groups[0], ["frame"])
        except Exception as error:  # whatever the store raises, it is one sentence there
            found["dataset_trouble"] = first_line(error)
    if storage:
        name = _name(mark, node)
        try:
            folder = Folder.at(storage)
            folder.write(name, node.encode())
            if folder.read(name) != node.encode():
                found["storage_trouble"] = "gives back something else than was written"
        except Exception as error:
            found["storage_trouble"] = f"cannot be written to ({first_line(error)})"
    if tracking:
        found["tracking_trouble"] = _unreachable(tracking)
    return found


def _gpu_names() -> tuple[str, ...]:
    # Not by torch: Ray hides the GPUs from a task that asks for none.
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    shown = subprocess.run([program, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return tuple(shown.stdout.splitlines()) if shown.returncode == 0 else ()


def _missing(storage: str, names: Sequence[str]) -> int:
    """Runs on the node: how many of the files it does not see."""
    folder = Folder.at(storage)
    return sum(not folder.exists(name) for name in names)


def _unreachable(uri: str) -> str:
    """Why a tracking server cannot be asked from here; empty when it answers."""
    if not uri.startswith(("http://", "https://")):
        return f"{uri} is a file that only one machine sees"
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SERVER_SECONDS).close()
    except urllib.error.HTTPError as error:
        # It answers; 401 is a server with users, whose names and passwords the job carries.
        return "" if error.code in (401, 404) else f"{uri} answers {error.code}"
    except (OSError, ValueError) as error:
        return f"{uri}: {first_line(error)}"
    return ""


def _name(mark: str, node: str) -> str:
    return f".doctor-{mark}-{node}{TEMPORARY}"
