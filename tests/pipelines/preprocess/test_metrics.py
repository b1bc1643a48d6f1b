"""What a job tells Prometheus: scraped from a real Ray in its text format, and the dashboard that shows it."""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from support.ray_nodes import patient

from pipelines.config import PreprocessConfig
from pipelines.preprocess import job, shards_on_ray
from pipelines.preprocess.metrics import CLIPS, FRAMES, NAMES, REJECTED, STAGES, WAITING

DASHBOARD = Path(__file__).parents[3] / "deploy/grafana-preprocess.json"
PATIENCE = 300.0
"""Seconds until Ray has brought a number to its page, on a busy machine."""


@pytest.fixture
def page() -> Iterator[str]:
    """The page of a Ray of our own that reports often."""
    with patient():
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            _system_config={"metrics_report_interval_ms": 500},
        )
    (node,) = ray.nodes()
    yield f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    ray.shutdown()


def scraped(page: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Value by name and the values of the labels that are ours; none before the page answers."""
    try:
        with urllib.request.urlopen(page, timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
    except OSError:
        return {}
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in families:
        for sample in family.samples:
            if "icface" in sample.name:
                ours = ("dataset", "node", "outcome", "reason", "stage")
                labels = tuple(sample.labels[name] for name in ours if name in sample.labels)
                found.setdefault(sample.name, {})[labels] = sample.value
    return found


def complete(found: dict[str, dict[tuple[str, ...], float]]) -> bool:
    """Whether all that the actor was told has come: an answer may hold a part of it."""
    expected = {f"ray_{CLIPS}_total": 3, f"ray_{REJECTED}_total": 1, f"ray_{FRAMES}_total": 1}
    expected |= {f"ray_{STAGES}_total": 4, f"ray_{WAITING}": 1}
    return all(len(found.get(name, {})) == count for name, count in expected.items())


def test_a_job_s_numbers_are_on_rays_page(
    page: str, sample_clips: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clips = tmp_path / "clips/ann/v"
    clips.mkdir(parents=True)
    (clips / "1.mp4").symlink_to(sample_clips["single_face.mp4"])
    (clips / "2.mp4").write_bytes(b"no video")
    data = str(tmp_path / "data")
    # The numbers go with the actor that has them, at the end of the job: here it stays.
    kept, reporting = [], shards_on_ray.reporting

    def keeping(progress_actor, *others):
        kept.append(progress_actor)
        return reporting(progress_actor, *others)

    monkeypatch.setattr(shards_on_ray, "reporting", keeping)
    summary = job.preprocess(
        PreprocessConfig.from_flat({"source": str(tmp_path / "clips"), "dataset": data, "size": 32, "every": 4})
    )
    assert (summary.ok, summary.failed) == (1, 1)
    ray.get(kept[0].add.remote({"status": "rejected", "reason": "small face (9 px)", "frames_read": 0}, "n"))

    deadline = time.monotonic() + PATIENCE
    while not complete(found := scraped(page)):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    assert found["ray_icface_clips_total"] == {(data, "ok"): 1, (data, "failed"): 1, (data, "rejected"): 1}
    assert found["ray_icface_rejected_clips_total"] == {(data, "small face"): 1}
    (frames,) = found["ray_icface_frames_total"].values()
    assert frames == job.Dataset.open(data).clips()["frames_read"].sum()
    stages = {labels[1]: value for labels, value in found["ray_icface_stage_seconds_total"].items()}
    assert set(stages) == {"fetch", "decode and measure", "crop and encode", "write"}
    assert all(value > 0 for value in stages.values())
    assert found[f"ray_{WAITING}"] == {(data,): 0}


def test_the_dashboard_shows_each_number_and_no_other():
    dashboard = json.loads(DASHBOARD.read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    names = set(re.findall(r"ray_icface_\w+", asked))
    assert names == {f"ray_{name}" if name == WAITING else f"ray_{name}_total" for name in NAMES}
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)
