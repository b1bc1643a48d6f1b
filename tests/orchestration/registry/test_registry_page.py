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
from orchestration.commands import dataset, evaluate, inspect, model_versions, models, parse, preprocess, train
from orchestration.config import AnimateJob
from orchestration.registry import versions as registry
from orchestration.tracking.run_logger import use_tracking
from pipelines.cluster import connect

PAGE = Path(__file__).resolve().parents[3] / "docs/registry.md"
VERBS = {"list": (models.List, True), "promote": (models.Promote, True)}
VERBS |= {"show": (model_versions.Show, True)}
VERBS |= {"compare": (models.Compare, False), "export": (models.Export, False)}


def understood(words: list[str]) -> object:
    """The options that a command would get; wrong ones end in SystemExit."""
    name, rest = words[0], words[1:]
    if name == "models":
        kind, positional = VERBS[rest[0]]
        return parse(kind, rest[1:], "models", positional=positional)
    if name == "dataset":
        return parse(dataset.Export, rest[1:], "dataset export", positional=False)
    if name == "train":
        default = train.Train(dataset=tyro.MISSING, training=TrainConfig.preset("small"))
        return parse(train.Train, rest, "train", default=default)
    kinds = {"evaluate": evaluate.Evaluate, "animate": AnimateJob, "preprocess": preprocess.options_type()}
    return parse(kinds.get(name, inspect.Inspect), rest, name)


def page() -> list[list[str]]:
    """The commands of the page in their order."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def readme() -> list[list[str]]:
    """The commands of the README's block that is to be pasted after `make demo`."""
    text = PAGE.parents[1].joinpath("README.md").read_text()
    block = next(b for b in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "icface preprocess" in b)
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def quick(words: list[str]) -> list[str]:
    """The command as printed, but for the steps of a training, which take minutes."""
    place = words.index("--steps") + 1 if "--steps" in words else len(words)
    return [*words[:place], *(["4"] if words[place:] else []), *words[place + 1 :]]


def test_the_readmes_block_is_understood_and_names_only_what_it_made():
    export, *commands = readme()
    assert export == ["export", "PATH=$PWD/.venv/bin:$PATH"]
    made, given = 0, {"results/demo/portrait.png"}
    for words in commands:
        assert words[0] == "icface"
        understood(words[1:])
        text = " ".join(words)
        assert all(int(number) <= made for number in re.findall(r"(?:models:/face/|models \w+ face )(\d)", text)), text
        if words[1] == "train" and "--dry-run" not in words:
            made += 1
        for place in re.findall(r"results/demo/\S+", text):
            known = any(place.startswith(known) for known in ("results/demo/clips", *given))
            assert known, f"{place} is not what the demo makes"
    from orchestration import demo

    assert "single_face/pyfeat/00001.mp4" in demo.CLIPS.values()


@pytest.mark.system
def test_the_readmes_block_works_after_the_demo(workplace: Path, sample_clips: dict[str, Path], monkeypatch, capsys):
    from orchestration import demo

    for name, place in demo.CLIPS.items():
        target = workplace / "readme/results/demo/clips" / place
        target.parent.mkdir(parents=True)
        shutil.copy(sample_clips[name], target)
    monkeypatch.chdir(workplace / "readme")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workplace}/readme/mlflow.db")
    use_tracking()
    _, frames = next(read_frames(sample_clips["WolfgangLanger_Pexels.mp4"]))
    Path("results/demo/portrait.png").write_bytes(encode_png(frames[0]))
    with connect("local", 2):
        for _, *words in readme()[1:]:
            assert main(quick(words)) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
    assert read_image("smile.png").shape == (64, 64, 3)
    assert Path("out.mp4").exists() and Path("smiling.mp4").exists() and Path("comparison.html").exists()
    monkeypatch.undo()
    use_tracking()


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
            assert main(quick(words[1:])) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
            said[shlex.join(words)] = capsys.readouterr().out
    first, second = sorted(registry.versions("face"), key=lambda item: item.number)
    assert "champion" in first.aliases
    assert first.evaluation["conditions"] == second.evaluation["conditions"]
    assert first.licence == "CC BY 4.0"
    promoted = said["icface models promote face 1 --force"]
    assert '"licence": "CC BY 4.0"' in promoted
    reasons = "forced: face version 1 is worse than copying the source|evaluated, and nothing had the alias"
    assert re.search(reasons, promoted), "why it got the alias is said"
    assert "face_l1" in (place / "comparison.html").read_text()
    assert read_image(place / "comparison.png").shape[1] > 4 * 100
    assert read_image(place / "smile.png").shape == (32, 32, 3)
    assert load_bundle(place / "exported").config.licence == "CC BY 4.0"
    assert sorted(path.suffix for path in (place / "exported-onnx").iterdir()) == [".json", ".md", ".onnx", ".onnx"]
