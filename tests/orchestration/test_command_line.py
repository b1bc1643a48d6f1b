"""The command line as a user meets it: help without heavy imports, one line for every failure, exit statuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from icface.errors import IcfaceError
from orchestration.__main__ import COMMANDS, READER_GONE, main

HEAVY = ("torch", "ray", "mlflow", "cv2", "mediapipe", "pandas")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["models", "promote"]], ids=" ".join)
def test_help_imports_nothing_heavy(command: list[str]):
    code = (
        "import sys; from orchestration.__main__ import main\n"
        f"status = main({[*command, '--help']!r})\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert status == 0 and not heavy, (status, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_is_no_error(unbuffered: str):
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "orchestration", "inspect", "--help"]
    read, write = os.pipe()
    os.close(read)  # before the command starts: nothing that this process does meanwhile can keep a reader alive
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=environment, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (READER_GONE, b"")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    """Exit status and the lines on standard error."""
    status = main(arguments)
    return status, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("prepocess",),
        ("preprocess",),
        ("preprocess", "a", "b", "--size", "many"),
        ("preprocess", "a", "b", "--val-fraction", "2"),
        ("train", "data", "--model.nonsense", "3"),
        ("train", "data", "--steps", "0"),
        ("evaluate", "m", "d", "--per-track", "0"),
        ("models",),
        ("models", "promote", "name"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(arguments: tuple[str, ...], capsys):
    status, _ = run(capsys, *arguments)
    assert status == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("preprocess", "{tmp}/nowhere", "{tmp}/data"), "nowhere does not exist"),
        (("preprocess", "{tmp}", "{tmp}/data"), "holds no clips"),
        (("inspect", "{tmp}"), "is not a data set"),
        (("train", "{tmp}", "--preset", "small"), "is not a data set"),
        (("train", "{data}"), "holds pictures of 32 px and the model wants 128"),
        (("train", "{data}", "--preset", "huge"), "presets are icface, small, expressive, paper"),
        (("train", "{data}", "--config", "{tmp}/none.yaml"), "cannot be read"),
        (("evaluate", "{tmp}/none", "{data}"), "is not a model"),
        (("evaluate", "{tmp}", "{data}"), "not a model bundle"),
        (("evaluate", "{bundle}", "{tmp}"), "is not a data set"),
        (("animate", "{bundle}", "{tmp}/none.png", "--set", "AU12=3"), "none.png cannot be read"),
        (("animate", "{bundle}", "{noise}", "--set", "AU12=3"), "no face is found"),
        (("animate", "{bundle}", "{noise}", "--set", "AU13=3"), "unknown attribute 'AU13'"),
        (("animate", "{bundle}", "{noise}", "--set", "AU12=9"), "must lie in 0..5"),
        (("animate", "{bundle}", "{noise}", "--set", "AU14=1"), "AU14 cannot be set"),
        (("animate", "{bundle}", "{noise}", "--set", "pose_yaw=1"), "here write yaw in degrees"),
        (("animate", "{bundle}", "{noise}"), "nothing to do"),
        (("animate", "{bundle}", "{noise}", "--set", "AU12=1", "-o", "x.avi"), "must end in"),
        (("models", "promote", "nobody", "1"), "no model 'nobody' is registered"),
        (("models", "import-release", "{tmp}/b", "--generator", "{noise}", "--neutraliser", "{noise}"), "noise.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_failures_are_one_line_and_1(
    arguments, said: str, capsys, tmp_path: Path, small_dataset: Path, untrained_bundle: Path, workplace: Path
):
    import numpy as np

    from icface.images import encode_png

    noise = tmp_path / "pictures" / "noise.png"
    noise.parent.mkdir()
    noise.write_bytes(encode_png(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)))
    places = {"tmp": tmp_path, "data": small_dataset, "bundle": untrained_bundle, "noise": noise}
    before = sorted(tmp_path.rglob("*"))
    status, lines = run(capsys, *(argument.format(**places) for argument in arguments))
    assert status == 1
    told = [line for line in lines if line.startswith("icface: ")]
    assert len(told) == 1, lines
    assert said in told[0]
    assert "Traceback" not in "\n".join(lines)
    assert sorted(tmp_path.rglob("*")) == before  # nothing half-written stays


def test_precedence_preset_yaml_flags(tmp_path: Path, monkeypatch):
    from orchestration.commands import train

    seen = []
    monkeypatch.setattr(train, "train", lambda options, reporter: seen.append(options))
    (tmp_path / "c.yaml").write_text("steps: 7\ndata: {batch_size: 4, rotate: 3}\n")
    train.main(["DATA", "--preset", "small", "--config", str(tmp_path / "c.yaml"), "--data.batch-size", "2", "--gpu"])
    config = seen[0].training
    assert (config.steps, config.data.batch_size, config.data.rotate, config.model.size) == (7, 2, 3.0, 64)
    assert seen[0].gpu
    assert seen[0].dataset == "DATA"


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (("preprocess",), "SOURCE DATASET"),
        (("train",), "DATASET"),
        (("animate",), "MODEL SOURCE_IMAGE"),
        (("models", "compare"), "MODEL"),
        (("studio",), "[MODEL ...]"),
        (("dataset", "export"), "DATASET OUTPUT --to {webdataset,hf}"),
    ],
    ids=" ".join,
)
def test_help_names_what_a_command_wants(command: tuple[str, ...], names: str, capsys):
    assert main([*command, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert names in shown.split("positional arguments")[0]
    assert "dataclass" not in shown and "typing." not in shown


def test_old_names_of_options_still_work_and_say_so(tmp_path: Path, monkeypatch, capsys):
    from orchestration.commands import train

    seen = []
    monkeypatch.setattr(train, "train", lambda options, reporter: seen.append(options.training))
    (tmp_path / "old.yaml").write_text("optimiser: {discriminator_rate: 0.003}\n")
    old = [
        "--data.batch",
        "12",
        "--data.pairs-per-visit",
        "4",
        "--optimiser.generator-rate=0.002",
        "--optimiser.clip",
        "3",
    ]
    train.main(["DATA", "--config", str(tmp_path / "old.yaml"), *old])
    new = [
        "--data.batch-size",
        "12",
        "--data.pairs-per-row-group",
        "4",
        "--optimiser.generator-lr=0.002",
        "--optimiser.grad-clip-norm",
        "3",
    ]
    train.main(["DATA", *new, "--optimiser.discriminator-lr", "0.003"])
    assert seen[0] == seen[1]
    said = capsys.readouterr().out
    for name in (
        "--data.batch-size",
        "--data.pairs-per-row-group",
        "--optimiser.generator-lr",
        "--optimiser.grad-clip-norm",
        "optimiser.discrim",
    ):
        assert said.count(f"is now {name}") == 1


def test_a_run_of_the_last_version_can_be_resumed():
    from icface.training.config import TrainConfig
    from orchestration.train.run_folder import RunRecord

    config = TrainConfig().to_json()
    stored = TrainConfig().to_json()
    stored["data"]["batch"] = stored["data"].pop("batch_size")
    stored["optimiser"]["clip"] = stored["optimiser"].pop("grad_clip_norm")
    record = RunRecord(config=stored, dataset="d", dataset_hash="h", mlflow_run_id="m")
    record.check_same(config, "h", None)
    with pytest.raises(IcfaceError, match=r"data\.batch_size 16 -> 4"):
        record.check_same(TrainConfig().merge({"data": {"batch": 4}}).to_json(), "h", None)


def test_inspect_off_a_terminal_prints_json_lines(capsys, small_dataset: Path):
    assert main(["inspect", str(small_dataset)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["event"] for line in lines} == {"table"}
    splits = next(line for line in lines if line["name"] == "Splits")
    assert splits["rows"][0]["split"] == "train"


def test_doctor_finds_this_environment_in_order(capsys, workplace: Path):
    assert main(["doctor"]) == 0
    table = capsys.readouterr().out
    for what in ("mediapipe", "libEGL", "face_landmarker", "MLflow", "cv2"):
        assert what in table


def test_doctor_says_what_is_missing(capsys, workplace: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ICFACE_CACHE", str(tmp_path / "empty"))
    assert main(["doctor"]) == 1
    assert "python -m icface.weights" in capsys.readouterr().out


def test_advice_on_packages_works_in_a_checkout(capsys, workplace: Path, monkeypatch):
    """It names packages of the locks and targets of the Makefile: our own name is on no package index."""
    from importlib.metadata import PackageNotFoundError

    from icface.analyzers import registrations
    from orchestration.cluster import doctor

    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", nothing)
    advice = [finding.mend for finding in doctor._packages() if finding.state != "ok"]
    advice += [mend for known in registrations().values() for mend in known.packages.values()]
    root = Path(__file__).resolve().parents[2]
    locked = (root / "requirements.lock").read_text()
    targets = (root / "Makefile").read_text()
    for mend in advice:
        assert "icface[" not in mend
        words = mend.replace(",", " ").split()
        if "pip" in words:
            for package in words[words.index("install") + 1 :]:
                assert f"\n{package}==" in locked
        else:
            assert words[0] == "make"
            assert f"\n{words[1]}:" in targets or f" {words[1]}" in targets


def test_debug_shows_the_traceback(tmp_path: Path):
    with pytest.raises(IcfaceError, match="is not a data set"):
        main(["inspect", str(tmp_path / "none"), "--debug"])
    assert main(["inspect", str(tmp_path / "none")]) == 1


def test_output_chooses_the_style_of_any_command(capsys, small_dataset: Path):
    assert main(["inspect", str(small_dataset), "--output", "plain"]) == 0
    plain = capsys.readouterr().out
    assert '"event"' not in plain
    assert "Splits" in plain
    assert main(["inspect", "--output=json", str(small_dataset)]) == 0
    assert all(json.loads(line) for line in capsys.readouterr().out.splitlines())
