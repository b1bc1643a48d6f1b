"""A checkpoint is a copy of the training's state: whoever writes it later writes the state of its step."""

from pathlib import Path
from typing import Any

import torch
from support.synthetic_pairs import synthetic_batch, tiny_config, tiny_training

from icface.training.checkpoint import HostCopy, load_state, save_state


def flat(value, name="") -> dict[str, object]:
    """Everything in nested containers by where it lies."""
    if isinstance(value, dict):
        return {key: leaf for part in value for key, leaf in flat(value[part], f"{name}/{part}").items()}
    if isinstance(value, list | tuple):
        return {key: leaf for number, part in enumerate(value) for key, leaf in flat(part, f"{name}/{number}").items()}
    return {name: value}


def assert_equal(a, b) -> None:
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    for name in a:
        if isinstance(a[name], torch.Tensor):
            assert torch.equal(a[name], b[name]) and a[name].stride() == b[name].stride(), name
        else:
            assert a[name] == b[name], name


def test_a_copy_that_is_written_later_is_that_of_its_step(tmp_path: Path):
    training = tiny_training(tiny_config())
    training.step(synthetic_batch(0))
    save_state(tmp_path / "at-once", training.state())
    save = HostCopy().take(training.state())
    training.step(synthetic_batch(1))
    training.step(synthetic_batch(2))
    save(tmp_path / "later")
    at_once, later = load_state(tmp_path / "at-once"), load_state(tmp_path / "later")
    assert later["steps_done"] == 1
    assert_equal(at_once, later)
    now = flat(training.state()["model"])
    assert any(not torch.equal(now[name], tensor) for name, tensor in flat(later["model"]).items())


def test_the_next_copy_takes_the_memory_of_the_last(tmp_path: Path):
    copy = HostCopy()
    state: dict[str, Any] = {
        "a": torch.arange(6.0).reshape(2, 3).t(),
        "steps_done": 1,
        "parts": [{"b": torch.tensor(2)}],
    }
    copy.take(state)(tmp_path / "first")
    places = {name: tensor.data_ptr() for name, tensor in copy._kept.items()}
    assert places and not {state["a"].data_ptr(), state["parts"][0]["b"].data_ptr()} & set(places.values())
    state["a"] += 1
    state["steps_done"] = 2
    copy.take(state)(tmp_path / "second")
    assert {name: tensor.data_ptr() for name, tensor in copy._kept.items()} == places
    assert_equal(load_state(tmp_path / "second"), state)
    assert load_state(tmp_path / "first")["a"].flatten().sum() == 15
    state["a"] = torch.ones(4)  # another shape
    copy.take(state)(tmp_path / "third")
    assert_equal(load_state(tmp_path / "third"), state)
