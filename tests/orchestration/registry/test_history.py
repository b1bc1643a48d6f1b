"""Aliases given, given back and refused, and where a version comes from, in a real store."""

import io
import json
from pathlib import Path

import mlflow
import pytest

from icface.errors import IcfaceError
from orchestration.__main__ import main
from orchestration.commands import model_versions
from orchestration.registry import history
from orchestration.registry import versions as registry
from orchestration.registry.promotion import promote
from orchestration.tracking.run_logger import experiment_id


def run(params: dict[str, str], name: str) -> str:
    client = mlflow.MlflowClient()
    tags = {
        "icface.dataset": "/data/faces",
        "icface.dataset_hash": "ab12",
        "icface.commit": "c0ffee",
        "mlflow.user": "ann",
    }
    made = str(client.create_run(experiment_id(), run_name=name, tags=tags).info.run_id)
    client.log_batch(made, params=[mlflow.entities.Param(key, value) for key, value in params.items()])
    client.set_terminated(made)
    return made


@pytest.fixture
def three(workplace: Path, request: pytest.FixtureRequest) -> str:
    """A model with three versions, each trained from the one before; none has an alias."""
    client = mlflow.MlflowClient()
    name = request.node.originalname
    client.create_registered_model(name)
    for number in (1, 2, 3):
        parent = f"models:/{name}/{number - 1}" if number > 1 else "none"
        made = run({"preset": "small", "steps": "600", "init_from": parent}, f"run{number}")
        tags = {registry.LICENCE_TAG: "CC BY 4.0", registry.SOURCES_TAG: json.dumps(["s3://clips"])}
        client.create_model_version(name, f"runs:/{made}/bundle", run_id=made, tags=tags)
    return name


def holder(name: str, alias: str = "champion") -> int | None:
    return next((item.number for item in registry.versions(name) if alias in item.aliases), None)


def reasons(name: str) -> dict[int, str]:
    """The reason that each version has as a tag."""
    found = mlflow.MlflowClient().search_model_versions(f"name='{name}'")
    return {int(item.version): item.tags[registry.REASON_TAG] for item in found if registry.REASON_TAG in item.tags}


def test_an_alias_goes_back_step_by_step_with_the_reasons_of_its_time(three: str):
    for number in (1, 2, 3):
        history.give_alias(three, number, "champion", f"reason {number}")
        assert reasons(three) == {number: f"champion: reason {number}"}, "a version that lost the alias has none"
    assert history.rollback(three, "champion") == (
        *(2, 3),
        "rolled back from version 3; promoted before because: reason 2",
    )
    assert (holder(three), set(reasons(three))) == (2, {2})
    assert history.rollback(three, "champion")[:2] == (1, 2)
    with pytest.raises(IcfaceError, match="before version 1 is left"):
        history.rollback(three, "champion")
    history.give_alias(three, 3, "champion", "again")
    assert history.rollback(three, "champion")[:2] == (1, 3)
    assert [(e.what, e.version, e.before) for e in history.history(three)] == [
        *(("promoted", 1, None), ("promoted", 2, 1), ("promoted", 3, 2)),
        *(("rolled back", 2, 3), ("rolled back", 1, 2), ("promoted", 3, 1), ("rolled back", 1, 3)),
    ]


def test_rolling_back_passes_over_what_is_retired_or_gone(three: str):
    for number in (1, 2, 3):
        history.give_alias(three, number, "champion", f"reason {number}")
    history.give_alias(three, 1, "other", "another alias")
    with pytest.raises(IcfaceError, match="version 3 has the alias champion: roll it back"):
        history.retire(three, 3, "")
    history.retire(three, 2, "its data was withdrawn")
    with pytest.raises(IcfaceError, match=r"version 2 is retired \(its data was withdrawn\)"):
        promote(three, 2, "champion")
    assert history.rollback(three, "champion")[:2] == (1, 3)
    history.bring_back(three, 2)
    with pytest.raises(IcfaceError, match="is not evaluated"):
        promote(three, 2, "champion")
    with pytest.raises(IcfaceError, match="is not retired"):
        history.bring_back(three, 2)


def test_deleting_asks_and_leaves_the_run(
    three: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    made = registry.version(three, 3).run_id
    assert main(["models", "delete", three, "3"]) == 1
    assert "add --yes" in capsys.readouterr().err
    monkeypatch.setattr(model_versions.sys, "stdin", Terminal("no\n"))
    assert main(["models", "delete", three, "3"]) == 1
    assert "nothing was deleted" in capsys.readouterr().err
    monkeypatch.setattr(model_versions.sys, "stdin", Terminal(f"{three}/3\n"))
    assert main(["models", "delete", three, "3"]) == 0
    assert made in capsys.readouterr().out
    assert [item.number for item in registry.versions(three)] == [2, 1]
    assert mlflow.MlflowClient().get_run(made).info.lifecycle_stage == "active"
    assert main(["models", "delete", three, "3", "--yes"]) == 1
    assert "has no version 3; it has 1, 2" in capsys.readouterr().err
    assert main(["models", "history", three]) == 0
    assert '"what": "deleted"' in capsys.readouterr().out


def test_lineage_names_data_parents_run_and_licence(three: str, capsys: pytest.CaptureFixture[str]):
    history.give_alias(three, 3, "champion", "the best")
    assert main(["models", "show", three, "3", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parents"] == [f"models:/{three}/2", f"models:/{three}/1"]
    assert facts["data_set"] == {"url": "/data/faces", "sha256": "ab12", "analyzer": None, "mixed_with": []}
    assert (facts["licence"], facts["sources"]) == ("CC BY 4.0", ["s3://clips"])
    assert facts["run"].items() >= {"name": "run3", "commit": "c0ffee", "user": "ann", "preset": "small"}.items()
    assert f"/runs/{facts['run']['id']}?workflowType=machine_learning" in facts["run"]["page"]
    assert (facts["aliases"], facts["promoted"]) == (["champion"], "champion: the best")
    assert main(["models", "show", three, "3"]) == 0
    table = capsys.readouterr().out
    for words in ("parent 2", f"models:/{three}/1", "c0ffee", "CC BY 4.0", "the best"):
        assert words in table
    mlflow.MlflowClient().delete_run(facts["run"]["id"])
    assert main(["models", "show", three, "9"]) == 1
    assert "it has 1, 2, 3" in capsys.readouterr().err
