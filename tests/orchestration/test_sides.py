"""A training with left and right apart, and everything that its bundle is used for."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from icface.animate import Animator
from icface.bundle import load_bundle, save_bundle
from icface.errors import IcfaceError
from icface.images import read_image
from icface.studio.workshop import OpenModel, describe_model
from icface.training.critic import make_critic
from icface.training.fit import TrainingData, fit
from orchestration.animation import animate
from orchestration.config import AnimateJob
from orchestration.registry import evaluation_page
from orchestration.registry.evaluation import evaluate_model
from orchestration.registry.versions import signature
from orchestration.train.bundle_config import make_bundle_config
from pipelines.dataset import Dataset
from pipelines.loading.pairs import PairBatches
from pipelines.loading.validation_frames import validation_frames


@pytest.fixture(scope="module")
def bundle(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory, tiny) -> Path:
    """Two steps with the critic, so that it reads sides."""
    config = tiny.merge({"steps": 2, "data": {"sides": True}, "loss": {"critic": 1.0}})
    dataset = Dataset.open(str(small_dataset))
    made = make_bundle_config(config, dataset)
    pairs = PairBatches(dataset, config.data, made.schema, config.model.size, seed=0, steps=2)
    frames = validation_frames(dataset, config.data, made.schema, config.model.size)
    data = TrainingData(
        batches=pairs.batches(), identities=len(pairs.identities), deviations=pairs.deviations(), validation=frames
    )
    model = fit(config, made, data, critic=make_critic(config.loss, made))
    with torch.no_grad():  # two steps teach nothing that shows
        model.generator.affine.weight.normal_(0.0, 0.3)
    path = tmp_path_factory.mktemp("sided") / "bundle"
    save_bundle(model, path)
    return path


def made(bundle: Path, portrait: Path, output: Path, **asked: object) -> pd.DataFrame:
    """The curves that were used."""
    csv = output.with_suffix(".csv")
    animate(
        AnimateJob(
            model=str(bundle),
            source_image=str(portrait),
            output=str(output),
            save_attributes=str(csv),
            overwrite=True,
            **asked,  # type: ignore[arg-type]
        )
    )
    return pd.read_csv(csv)


def test_the_bundle_names_the_sides_and_commands_take_them(bundle: Path, portrait: Path, tmp_path: Path):
    schema = load_bundle(bundle).schema
    assert len(schema) == 28 and schema.attributes[schema.index("AU12L")].trained
    one = made(bundle, portrait, tmp_path / "one.png", set=("AU12L=0.5",))
    own = made(bundle, portrait, tmp_path / "own.png", scale=("AU12L=1",))
    assert one["AU12L"][0] == pytest.approx(0.5) and one["AU12R"][0] == own["AU12R"][0]
    both = made(bundle, portrait, tmp_path / "both.png", set=("AU12=0.5",))
    assert both["AU12L"][0] == both["AU12R"][0] == pytest.approx(0.5)
    assert "AU12" not in both.columns
    with pytest.raises(IcfaceError, match="unknown attribute 'AU26L'"):
        made(bundle, portrait, tmp_path / "no.png", set=("AU26L=1",))


def test_it_follows_drivers_with_and_without_sides(
    bundle: Path, portrait: Path, tmp_path: Path, untrained_bundle: Path
):
    driver = tmp_path / "driver.csv"
    pd.DataFrame({"timestamp": [0.0, 0.04], "AU45": [0.0, 0.5]}).to_csv(driver, index=False)
    used = made(bundle, portrait, tmp_path / "whole.mp4", drive=str(driver))
    assert used["AU45L"].tolist() == used["AU45R"].tolist() == [0.0, 0.5]
    assert made(bundle, portrait, tmp_path / "again.mp4", drive=str(tmp_path / "whole.csv")).equals(used)
    pd.DataFrame({"timestamp": [0.0, 0.04], "AU45L": [0.0, 0.5], "AU45R": 0.0}).to_csv(driver, index=False)
    wink = made(bundle, portrait, tmp_path / "wink.mp4", drive=str(driver))
    assert wink["AU45L"].tolist() == [0.0, 0.5] and wink["AU45R"].tolist() == [0.0, 0.0]
    usual = made(untrained_bundle, portrait, tmp_path / "usual.mp4", drive=str(driver))
    assert usual["AU45"].tolist() == [0.0, 0.25] and "AU45L" not in usual.columns


def test_one_side_moves_other_pixels_than_the_other(bundle: Path, portrait: Path):
    animator = Animator.from_bundle(bundle)
    source = animator.prepare(read_image(portrait))
    assert set(source.attributes) >= {"AU12L", "AU12R"}
    left, right = animator.animate(source, pd.DataFrame({"AU12L": [1.0, 0.0], "AU12R": [0.0, 1.0]}))
    assert np.abs(left.astype(int) - right).max() > 0
    animator.analyzer.close()


def test_the_page_shows_a_slider_for_each_side_and_serving_takes_them(bundle: Path):
    animator = Animator.from_bundle(bundle)
    described = describe_model(OpenModel(reference="m", animator=animator, bundle=""))
    animator.analyzer.close()
    sliders = {slider["name"]: slider for slider in described["sliders"]}  # type: ignore[attr-defined]
    assert sliders["AU12L"]["title"] == "Lip Corner Puller, left" and sliders["AU12R"]["words"] == "smile"
    assert sliders["AU12L"]["region"] == "mouth" and "AU12" not in sliders
    assert {"AU45L", "AU45R"} <= set(signature(load_bundle(bundle).schema).inputs.input_names())


def test_it_is_evaluated_by_its_sides_and_as_a_whole(bundle: Path, small_dataset: Path, tmp_path: Path):
    found = evaluate_model(str(bundle), str(small_dataset), groups=("held_out",), per_track=3, stepped=1)
    (group,) = found.groups.values()
    scores = group.scores["model"]
    assert {"error.AU12", "error.AU12L", "error.AU12R", "error.AU26"} <= set(scores)
    # What is stepped; two steps of training make no face in which that could be measured.
    assert {"AU12L", "AU12R"} <= set(group.response) and "AU12" not in group.response
    evaluation_page.write(tmp_path / "page.html", "sided", found)
    assert "AU12R smile" in (tmp_path / "page.html").read_text()
