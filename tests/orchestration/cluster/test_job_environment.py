import os
import stat
from pathlib import Path

import pytest

from orchestration.cluster import job_environment


def test_a_job_s_processes_get_the_variables_and_others_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICFACE_TEST_VALUE", "before")
    job_environment.write(tmp_path, {"ICFACE_TEST_VALUE": "given"})
    assert stat.S_IMODE((tmp_path / job_environment.FILE).stat().st_mode) == 0o600
    job_environment.load()
    assert os.environ["ICFACE_TEST_VALUE"] == "before", "the file alone changes nothing"
    monkeypatch.setenv(job_environment.VARIABLE, job_environment.FILE)
    job_environment.load()
    assert os.environ["ICFACE_TEST_VALUE"] == "given"


def test_a_path_in_a_job_s_own_folder_is_told_as_its_user_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    sentence = f"{tmp_path}/faces is no data set"
    assert job_environment.without_own_folder(sentence) == sentence
    monkeypatch.setenv(job_environment.VARIABLE, job_environment.FILE)
    told = job_environment.without_own_folder(sentence)
    assert told.startswith("faces is no data set")
    assert "give a path that the cluster sees" in told
