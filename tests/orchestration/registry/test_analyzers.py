"""The analyzer of a data set or a model is made again with the options that labelled it, or refused by name."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.datasets import changed, flat_config

from icface.analyzers import create, from_record, pyfeat
from icface.analyzers.mediapipe_torch.analyzer import MediaPipeTorchAnalyzer
from icface.analyzers.registry import PyFeatOptions, flags, record
from icface.animate import Animator
from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig, ICface
from icface.errors import IcfaceError
from icface.networks.config import ModelConfig
from orchestration.__main__ import main
from orchestration.registry.measurer import MeasurerChoice
from pipelines.config import PreprocessConfig


@pytest.fixture
def detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """py-feat's analyzers without py-feat: each detector has weights of its own."""
    monkeypatch.setattr(pyfeat, "_load", lambda detector, device, weights: (None, "2.1.5", f"{detector}" * 16))


def labelled_by(detector: str) -> dict[str, object]:
    fingerprint = create("pyfeat", detector=detector).fingerprint
    return record("pyfeat", PyFeatOptions(detector=detector), fingerprint)


@pytest.mark.parametrize("detector", ["v1", "v2", "mp"])
def test_evaluating_and_animating_measure_with_the_detector_that_labelled(detectors: None, detector: str):
    entry = labelled_by(detector)
    model = ICface(
        BundleConfig(
            model=ModelConfig(size=32, width=8),
            schema=AttributeSchema.default(),
            crop_rule={"mode": "track"},
            analyzer=entry,
        )
    )
    with MeasurerChoice().for_data(SimpleNamespace(analyzer=entry)).opened() as measurer:
        assert measurer.analyzer.fingerprint == entry["fingerprint"]
    assert Animator.from_bundle(model).analyzer.fingerprint == entry["fingerprint"]


def test_another_detector_is_refused_by_name(detectors: None):
    unsaid = {name: value for name, value in labelled_by("v2").items() if name != "options"}
    with pytest.raises(IcfaceError, match=r"measured by .*Detector v2.* here is .*Detector v1"):
        from_record(unsaid)


def test_a_newer_release_of_the_library_is_the_same_analyzer():
    fingerprint = create("mediapipe").fingerprint
    older = "mediapipe 0.9.1," + fingerprint.partition(",")[2]
    assert from_record({"name": "mediapipe", "fingerprint": older}).fingerprint == fingerprint
    with pytest.raises(IcfaceError, match="mapping 77"):
        from_record({"name": "mediapipe", "fingerprint": fingerprint.partition(", mapping")[0] + ", mapping 77"})


def test_pictures_of_a_model_with_labels_from_files_are_measured_by_the_default():
    entry = {"name": "openface", "options": {"root": "nowhere"}, "fingerprint": "openface csv, confidence 0.8"}
    assert from_record(entry).name == "mediapipe"
    assert from_record({}).name == "mediapipe"


def test_a_data_set_records_what_decides_its_labels(tmp_path: Path):
    config = flat_config(source="clips", dataset="d", analyzer="pyfeat", analyzer_options={"weights": "w"})
    assert config.analyzer_record("f") == {"name": "pyfeat", "options": {"detector": "v1"}, "fingerprint": "f"}
    assert changed(config, gpus=0.5).analyzer_record("f")["options"] == {"detector": "v2"}


def test_every_option_has_a_name_of_its_own():
    names = [flag for flag, _, _ in flags()]
    assert {"openface_root", "openface_confidence", "pyfeat_detector", "pyfeat_weights"} <= set(names)
    names += PreprocessConfig(source="c", dataset="d").to_flat()
    assert len(set(names)) == len(names)


def test_on_a_gpu_mediapipes_labels_are_measured_by_the_same_networks_in_torch():
    """torch's device `meta` stands for a GPU: it takes the networks, and there is one on every machine."""
    fingerprint = create("mediapipe").fingerprint
    for entry in ({"name": "mediapipe", "fingerprint": fingerprint}, {"name": "openface"}, {}):
        analyzer = from_record(entry, "meta")
        assert isinstance(analyzer, MediaPipeTorchAnalyzer)
        assert analyzer.device.type == "meta"
        assert from_record(entry, "cpu").name == "mediapipe"
    with MeasurerChoice(device="meta").for_data(SimpleNamespace(analyzer=entry)).opened() as measurer:
        assert measurer.analyzer.name == "mediapipe-torch"
    other = fingerprint.partition(", mapping")[0] + ", mapping 77"
    with pytest.raises(IcfaceError, match="mapping 77, and the analyzer mediapipe-torch here"):
        from_record({"name": "mediapipe", "fingerprint": other}, "meta")


def test_single_pictures_are_not_followed_from_one_to_the_next():
    fingerprint = create("mediapipe-torch", detect_every=4).fingerprint
    entry = {"name": "mediapipe-torch", "options": {"detect_every": 4}, "fingerprint": fingerprint}
    analyzer = from_record(entry)
    assert isinstance(analyzer, MediaPipeTorchAnalyzer)
    assert analyzer.detect_every == 1


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "m", "d"],
        ["animate", "m", "p", "--set", "AU12=1"],
        ["studio"],
        ["models", "compare", "m", "n"],
        ["models", "promote", "m", "1"],
    ],
)
def test_a_gpu_that_is_not_there_is_said(command: list[str], capsys: pytest.CaptureFixture[str]):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert main([*command, "--gpu"]) == 1
    assert "--gpu: PyTorch sees no GPU here" in capsys.readouterr().err
