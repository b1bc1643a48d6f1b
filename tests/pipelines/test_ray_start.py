"""A node of Ray's that is slow to start is waited for while its process lives, and no longer."""

import os
import subprocess

import pytest
import ray._private.services as services

from icface.errors import IcfaceError
from pipelines import cluster, ray_start
from pipelines.ray_start import children, waiting_for_node


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What Ray is asked for its node, which is there at the fourth question."""
    asked: list[tuple[str, str]] = []

    def get_node(address: str, node: str) -> dict[str, str]:
        asked.append((address, node))
        if len(asked) < 4:
            raise RuntimeError("no node with that id")
        return {"node_id": node}

    monkeypatch.setattr(services, "get_node", get_node)
    monkeypatch.setattr(ray_start, "PAUSE_SECONDS", 0.0)
    return asked


def test_a_node_that_starts_slowly_is_waited_for(questions: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray_start, "children", lambda: {"gcs_server", "raylet"})
    ours = services.get_node
    with waiting_for_node(600.0):
        assert services.get_node("here:1", "n") == {"node_id": "n"}
    assert questions == [("here:1", "n")] * 4
    assert services.get_node is ours


@pytest.mark.parametrize(("seconds", "alive"), [(-1.0, {"raylet"}), (600.0, {"gcs_server"})])
def test_what_is_late_or_dead_is_not_waited_for(
    questions: list, seconds: float, alive: set[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ray_start, "children", lambda: alive)
    with waiting_for_node(seconds), pytest.raises(RuntimeError, match="no node with that id"):
        services.get_node("here:1", "n")
    assert len(questions) == 1


def test_children_are_those_that_run():
    with subprocess.Popen(["sleep", "1000"]) as child:
        assert "sleep" in children()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is not taken away yet
        assert "sleep" not in children()


def test_a_start_that_takes_too_long_is_tried_again_with_more_patience(monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []

    def never(**options: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because")

    waiting = cluster.waiting_for_node
    monkeypatch.setattr(cluster, "waiting_for_node", lambda seconds: waits.append(seconds) or waiting(seconds))
    monkeypatch.setattr(cluster.ray, "init", never)
    with (
        pytest.raises(IcfaceError, match=r"Ray at 'local' cannot be reached or started: .*timed out"),
        cluster.connect(),
    ):
        pass
    assert waits == [60.0, 120.0, 240.0]
