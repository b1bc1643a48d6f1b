"""docs/registry.md: the commands that it shows are understood, and every version that they name was made before."""

import re
import shlex
from pathlib import Path

import tyro

from icface.training.config import TrainConfig
from orchestration.commands import evaluate, models, parse, train
from orchestration.config import AnimateJob
from pipelines.config import PreprocessConfig

PAGE = Path(__file__).resolve().parents[2] / "docs/registry.md"
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


def test_every_command_of_the_page_is_one():
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert len(commands) > 9
    assert {words[0] for words in commands} == {"icface"}
    options = [understood(words[1:]) for words in commands]
    trainings = [item for item in options if isinstance(item, train.Train)]
    assert len({item.name for item in trainings}) == len(trainings)
    assert len({item.training.optimiser.generator_rate for item in trainings}) == len(trainings), "the configs differ"
    made = 0
    for words, item in zip(commands, options, strict=True):
        made += isinstance(item, train.Train)
        assert all(int(number) <= made for number in re.findall(r"models:/face/(\d)", " ".join(words))), words
