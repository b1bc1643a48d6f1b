"""MLflow's own page in a real browser: the addresses that commands print show what they promise."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from playwright.sync_api import Page, expect, sync_playwright
from support.servers import free_port, wait_for_answer

from orchestration.registry import descriptions
from orchestration.registry import versions as registry
from orchestration.registry.comparison import Comparison, compare
from orchestration.registry.runs import end_run, start_run
from orchestration.tracking import pages
from orchestration.tracking.metric_names import EVALUATION, all_grouped
from orchestration.tracking.run_logger import RunLogger, experiment_id, tracking_uri
from pipelines.dataset import Dataset

pytestmark = pytest.mark.system

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 180_000
"""Milliseconds: machines that run tests are slow."""


@pytest.fixture(scope="module")
def runs(workplace: Path, small_dataset: Path, untrained_bundle: Path) -> list[str]:
    """Two runs with metrics, pictures by step, an evaluation's scores and a registered version each."""
    made = []
    for number in (1, 2):
        params = {"preset": "small", "dataset": str(small_dataset), "workers": 1, "model.size": 32, "steps": 6}
        run = start_run(f"first{number}", params, {}, None, Dataset.open(str(small_dataset)))
        logger = RunLogger(run, workplace / "unsent")
        for step in (3, 6):
            logger.metrics(step, all_grouped({"A/reconstruction": 1 / step, "D/r/AU12": 0.5, "images_per_second": 9.0}))
            logger.metrics(step, {"system/cpu_utilization_percentage": 50.0})
            logger.picture(step, np.full((64, 64, 3), 40 * step, np.uint8))
        logger.close()
        registry.register(run, untrained_bundle, "face")
        end_run(run, "FINISHED")
        made.append(run)
    return made


@pytest.fixture(scope="module")
def server(runs: list[str]) -> Iterator[str]:
    """The address of MLflow's page for the store."""
    port = free_port()
    path = os.pathsep.join([str(Path(mlflow.__file__).parents[4] / "bin"), os.environ["PATH"]])
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri(), "--port", str(port)]
    command += ["--workers", "1"]
    with Path("ui.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, "PATH": path}, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_answer(f"{address}/health", process, 400, Path("ui.log"))
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=300)


@pytest.fixture(scope="module")
def tab() -> Iterator[Page]:
    assert CHROMIUM, "no Chromium here: `make test-system` installs it"
    with sync_playwright() as playwright:
        arguments = ["--headless", "--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        # Each page opens as it does for somebody who was never there.
        tab = browser.new_context(viewport={"width": 1600, "height": 1100}).new_page()
        tab.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        yield tab
        browser.close()


def opened(tab: Page, server: str, address: str | None, name: str) -> Page:
    assert address is not None
    tab.goto("about:blank")  # addresses differ after the #, which alone loads nothing
    tab.goto(address.replace(pages.LOCAL, server))
    if folder := os.environ.get("ICFACE_SCREENSHOTS"):
        tab.wait_for_timeout(15_000)
        tab.screenshot(path=f"{folder}/{name}.png")
    return tab


def test_a_run_opens_in_the_view_of_model_training(tab: Page, server: str, runs: list[str]):
    page = opened(tab, server, pages.run_page(runs[0]), "run")
    expect(page.get_by_text("Preset small, 32 px, 6 steps. Not evaluated yet.").first).to_be_visible()
    for words in ("train/generator/reconstruction", "preset", "first1, step", "face"):
        expect(page.get_by_text(words).first).to_be_visible()
    for words in ("Traces", "System metrics", "Model metrics", "Artifacts"):
        expect(page.get_by_text(words, exact=True).first).to_be_visible()
    for words in ("Judges", "Prompts", "Agent versions"):
        expect(page.get_by_text(words, exact=True)).to_have_count(0)


def test_logged_models_have_names_data_metrics_and_versions(tab: Page, server: str, runs: list[str]):
    page = opened(tab, server, pages.models_page(), "models")
    for words in ("first1, step", "first2, step", "Model training"):
        expect(page.get_by_text(words).first).to_be_visible()
    logged = mlflow.search_logged_models(experiment_ids=[experiment_id()], output_format="list")
    found = [model for model in logged if model.source_run_id in runs]
    assert len(found) == 2
    for model in found:
        assert re.fullmatch(r"first\d, step \d+", model.name)
        metrics = {metric.key: metric for metric in model.metrics}
        assert metrics["train/generator/reconstruction"].dataset_name == "data"
        assert model.params["preset"] == "small"
        (registered,) = json.loads(model.tags["mlflow.modelVersions"])
        assert (registered["name"], str(registered["version"])) in {("face", "1"), ("face", "2")}


def test_two_runs_side_by_side(tab: Page, server: str, runs: list[str]):
    page = opened(tab, server, pages.comparison_page(runs), "compare")
    for words in ("first1", "first2", "train/generator/reconstruction"):
        expect(page.get_by_text(words).first).to_be_visible()


@pytest.fixture(scope="module")
def compared(
    server: str, small_dataset: Path, untrained_bundle: Path, other_bundle: Path
) -> tuple[Comparison, list[str]]:
    """What `icface models compare` says of two versions, and their runs."""
    models, made = [], []
    for bundle in (untrained_bundle, other_bundle):
        run = start_run(f"pair{len(made)}", {"preset": "small"}, {}, None, Dataset.open(str(small_dataset)))
        models.append(f"models:/pair/{registry.register(run, bundle, 'pair')}")
        end_run(run, "FINISHED")
        made.append(run)
    compare(models, str(small_dataset), per_track=2)
    return compare(models), made


def last_digit(value: float) -> float:
    """The place to which MLflow rounds a metric: three digits behind the point, fewer from 10 on."""
    size = abs(value)
    return 1e-3 * size if size < 0.001 else 1e-3 if size < 10 else 1e-2 if size < 100 else 0.1


ROWS = """names => {
    const seen = window.seen ??= {}, text = cell => cell.innerText.trim();
    for (const row of document.querySelectorAll("tr"))
        if (row.checkVisibility()) {
            const [name, ...values] = [...row.children].map(text);
            seen[name] = values;
        }
    const [titles, scores] = document.querySelectorAll("[role=grid]");
    if (scores) {
        const left = cell => parseFloat(cell.style.left);
        for (const title of titles.firstChild.children) {
            const beside = [...scores.firstChild.children].filter(cell => cell.style.top === title.style.top);
            if (beside.length === 2) seen[text(title)] = beside.sort((a, b) => left(a) - left(b)).map(text);
        }
        const end = scores.scrollHeight - scores.clientHeight;
        scores.scrollTop = scores.scrollTop < end ? scores.scrollTop + 100 : 0;
    }
    return names.every(name => name in seen) ? seen : null;
}"""
"""Cells by the name of their row, once all `names` were seen; until then null.

The page of versions has a table. That of runs has a grid of names and one of scores, and draws only the rows in sight:
so the grid is scrolled on, and from its end to the start, until nothing is missing.
"""


@pytest.mark.parametrize("of", ["versions", "runs"])
def test_the_saved_comparison_says_what_the_command_says(
    tab: Page, server: str, compared: tuple[Comparison, list[str]], of: str
):
    found, made = compared
    address = found.mlflow_page() if of == "versions" else pages.comparison_page(made)
    page = opened(tab, server, address, f"comparison of {of}")
    switches = page.get_by_role("switch")
    expect(switches.first).to_be_visible()
    for place in range(switches.count()):
        switches.nth(place).uncheck()  # rows of equal scores are hidden at first
    heading, *rows = found.metrics()
    assert heading[2:4] == ("models:/pair/1", "models:/pair/2")
    names = [row[0] for row in rows]
    assert "held_out/face_l1" in names
    shown = page.wait_for_function(ROWS, arg=[f"{EVALUATION}{name}" for name in names], polling=100).json_value()
    first, second = (compared.report.metrics() for compared in found.compared_models)
    for name in names:
        for cell, score in zip(shown[f"{EVALUATION}{name}"], (first[name], second[name]), strict=True):
            assert float(cell) == pytest.approx(score, rel=0, abs=0.51 * last_digit(score)), name


def test_a_version_says_what_it_is_in_its_first_line(tab: Page, server: str, runs: list[str]):
    page = opened(tab, server, pages.version_page("face", 1), "version")
    expect(page.get_by_text("Preset small, 32 px").first).to_be_visible()
    version = mlflow.MlflowClient().get_model_version("face", "1")
    assert version.tags[descriptions.STEPS_TAG].isdigit()
