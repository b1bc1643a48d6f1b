"""docs/registry.md: the commands that it shows are understood, name only versions made before, and do what it says."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import tyro

from icface.bundle import load_bundle
from icface.images import encode_png, read_image
from icface.training.config import TrainConfig
from icface.video.reading import read_frames
from orchestration.__main__ import main
from orchestration.commands import evaluate, models, parse, train
from orchestration.config import AnimateJob
from orchestration.registry import versions as registry
from pipelines.cluster import connect
from pipelines.config import PreprocessConfig

PAGE = Path(__file__).resolve().parents[3] / "docs/registry.md"
VERBS = {"list": (models.List, True), "promote": (models.Promote, True)}
VERBS |= {"compare": (models.Compare, False), "export": (models.Export, False)}


def understood(words: list[str]) -> object:
    """The options that a command would get; wrong ones end in SystemExit."""
    name, rest = words[0], words[1:]
    if name == "models":
        kind, positional = VERBS[rest[0]]
        return parse(kind, rest[1:], "models", positional=positional)
    if name == "train":
        default = train.Train(dataset=tyro.MISSING, training=TrainConfig.preset("small"))
        return parse(train.Train, rest, "train", default=default)
    return parse(
        {"evaluate": evaluate.Evaluate, "animate": AnimateJob, "preprocess": PreprocessConfig}[name], rest, name
    )


def page() -> list[list[str]]:
    """The commands of the page in their order."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def test_every_command_of_the_page_is_one():
    commands = page()
    assert len(commands) > 9
    assert {words[0] for words in commands} == {"icface"}
    options = [understood(words[1:]) for words in commands]
    trainings = [item for item in options if isinstance(item, train.Train)]
    assert len({item.name for item in trainings}) == len(trainings)
    assert len({item.training.optimiser.generator_lr for item in trainings}) == len(trainings), "the configs differ"
    made = 0
    for words, item in zip(commands, options, strict=True):
        made += isinstance(item, train.Train)
        assert all(int(number) <= made for number in re.findall(r"models:/face/(\d)", " ".join(words))), words


@pytest.fixture
def place(workplace: Path, sample_clips: dict[str, Path]) -> Path:
    """The current folder, with the clips and the portrait that the page speaks of."""
    for number, clip in enumerate(sample_clips.values()):
        target = workplace / f"clips/person{number}/v/1.mp4"
        target.parent.mkdir(parents=True)
        shutil.copy(clip, target)
    _, frames = next(read_frames(sample_clips["single_face.mp4"]))
    (workplace / "portrait.png").write_bytes(encode_png(frames[0]))
    return workplace


@pytest.mark.system
def test_every_command_of_the_page_works(place: Path, capsys: pytest.CaptureFixture[str]):
    said = {}
    with connect("local", 2):
        for words in page():
            assert main(words[1:]) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
            said[shlex.join(words)] = capsys.readouterr().out
    first, second = sorted(registry.versions("face"), key=lambda item: item.number)
    assert "champion" in first.aliases
    assert first.evaluation["conditions"] == second.evaluation["conditions"]
    assert first.licence == "CC BY 4.0"
    assert '"licence": "CC BY 4.0"' in said["icface models promote face 1"]
    assert "face_l1" in (place / "comparison.html").read_text()
    assert read_image(place / "comparison.png").shape[1] > 4 * 100
    assert read_image(place / "smile.png").shape == (32, 32, 3)
    assert load_bundle(place / "exported").config.licence == "CC BY 4.0"
    assert sorted(path.suffix for path in (place / "exported-onnx").iterdir()) == [".json", ".md", ".onnx", ".onnx"]
