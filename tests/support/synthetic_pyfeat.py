"""Folders of weights for py-feat as its hub's cache lays them out. Only those of MediaPipe's two networks are real.

The others are random numbers in the right shapes: what comes out of them says nothing about faces, only that our
code and py-feat's fit together.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from icface.analyzers.blendshapes import BLENDSHAPE_NAMES

REVISION = "0" * 40
UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
"""py-feat's action units in the order of its columns."""
UPPER_LIP = {"mouthUpperUpLeft": 0.85, "mouthUpperUpRight": 0.85, "mouthClose": -1.7}
CHAIN: dict[int, tuple[float, dict[str, float]]] = {
    1: (0.0, {"browInnerUp": 1.9}),
    12: (0.0, {"mouthSmileLeft": 0.95, "mouthSmileRight": 0.95}),
    25: (0.0, {"jawOpen": 1.7, "mouthLowerDownLeft": 0.85, "mouthLowerDownRight": 0.85} | UPPER_LIP),
    43: (-0.3, {"eyeBlinkLeft": 1.1, "eyeBlinkRight": 1.1}),
}
"""Stands in for the regression from blendshapes to action units, which the hub has and we have not: intercept and
gains, times 5, of the units that blendshapes tell best."""


def place(folder: Path, repository: str, name: str) -> Path:
    """Where py-feat looks for a file of a repository."""
    home = folder / f"models--py-feat--{repository}"
    (home / "refs").mkdir(parents=True, exist_ok=True)
    (home / "refs/main").write_text(REVISION)
    (home / "snapshots" / REVISION).mkdir(parents=True, exist_ok=True)
    return home / "snapshots" / REVISION / name


def face_detector(folder: Path) -> None:
    """A RetinaFace that is sure of seeing nothing: tests say themselves where the face is."""
    import torch
    from feat.face_detectors.Retinaface.Retinaface_model import RETINAFACE_R34_CFG, RetinaFace
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = RetinaFace(RETINAFACE_R34_CFG).state_dict()
    for name, values in state.items():
        if name.startswith("ClassHead"):
            values.zero_()
            if name.endswith("bias"):  # background and face, for each anchor
                values.copy_(torch.tensor([9.0, -9.0]).repeat(len(values) // 2))
    save_file(
        {name: values.contiguous() for name, values in state.items()},
        place(folder, "retinaface_r34", "model.safetensors"),
    )


def mesh_detector(folder: Path, real: Path) -> None:
    """MPDetector's: the mesh and blendshape networks out of `real`, the regression to action units random."""
    face_detector(folder)
    for repository, name in (
        ("mp_facemesh_v2", "face_landmarks_detector.pt"),
        ("mp_blendshapes", "face_blendshapes.pth"),
    ):
        place(folder, repository, name).symlink_to(real / name)
    coefficients = np.zeros((len(BLENDSHAPE_NAMES), len(UNITS)), np.float32)
    intercept = np.zeros(len(UNITS), np.float32)
    for unit, (start, gains) in CHAIN.items():
        intercept[UNITS.index(unit)] = start / 5
        for shape, gain in gains.items():
            coefficients[BLENDSHAPE_NAMES.index(shape), UNITS.index(unit)] = gain / 5
    np.savez(
        place(folder, "bs_to_au", "bs_to_au_pls_v2.npz"),
        coef=coefficients,
        intercept=intercept,
        bs_columns=np.array(BLENDSHAPE_NAMES),
        au_columns=np.array([f"AU{unit:02d}" for unit in UNITS]),
    )


def first_detector(folder: Path) -> None:
    """Detectorv1's: random landmarks network, small random trees for the action units, random pose."""
    import torch
    from feat.au_detectors.StatLearning.SL_test import XGBClassifier as Classifiers
    from feat.landmark_detectors.mobilefacenet_test import MobileFaceNet
    from feat.utils.face_mask import extract_hog_features_batched
    from feat.utils.face_pose_mlp import PoseMLP
    from safetensors.torch import save_file
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler
    from skops.io import dump
    from xgboost import XGBClassifier

    face_detector(folder)
    torch.manual_seed(1)
    landmarks = MobileFaceNet([112, 112], 136)
    # An empty picture, which a frame without a face becomes, must not put all points in one place.
    torch.nn.init.uniform_(landmarks.output_layer.bn.bias, 0.2, 0.8)
    torch.save(
        {"state_dict": landmarks.state_dict()}, place(folder, "mobilefacenet", "mobilefacenet_model_best.pth.tar")
    )

    rng = np.random.default_rng(1)
    faces = torch.from_numpy(rng.uniform(0, 1, (1, 3, 112, 112)).astype(np.float32))
    points = torch.from_numpy(rng.uniform(0.2, 0.8, (1, 136)).astype(np.float32))
    features = extract_hog_features_batched(faces, points)[0].shape[1]
    examples = rng.uniform(0, 1, (16, features))
    scaler = StandardScaler().fit(examples)
    reduction = PCA(4, random_state=0).fit(scaler.transform(examples))
    trees = Classifiers()
    trees.load_weights(
        *(scaler, reduction) * 3,
        classifiers={
            unit: XGBClassifier(n_estimators=2, max_depth=2, n_jobs=1, random_state=index).fit(
                rng.normal(size=(40, 4 + 136)), rng.integers(0, 2, 40)
            )
            for index, unit in enumerate(trees.au_keys)
        },
    )
    dump(trees, place(folder, "xgb_au", "xgb_au_classifier_v2.skops"))

    pose = PoseMLP()
    save_file(pose.state_dict(), place(folder, "pose_mlp_v2", "pose_mlp_v2.safetensors"))
    architecture = {
        "hidden": [512, 256, 128],
        "dropout": 0.15,
        "output_normalization": {"mean": [0.0] * 6, "std": [0.1] * 6},
    }
    place(folder, "pose_mlp_v2", "pose_mlp_v2.json").write_text(json.dumps({"architecture": architecture}))


def second_detector(folder: Path) -> None:
    """Detectorv2's: its one network with random weights."""
    from dataclasses import asdict

    import torch
    from feat.multitask import MEGraphAUv2, ModelV2Config
    from safetensors.torch import save_file

    face_detector(folder)
    torch.manual_seed(2)
    config = ModelV2Config(
        pretrained=False, n_au=20, n_emotion=7, n_blendshape=52, mesh_normalized=True, use_head_v3=True, drop_mefl=True
    )
    state = {name: values.contiguous() for name, values in MEGraphAUv2(config).state_dict().items()}
    path = place(folder, "face_multitask_v2", "face_multitask_v28.safetensors")
    save_file(state, path, {"config": json.dumps(asdict(config))})


MADE_UP: dict[str, Callable[[Path], None]] = {"v1": first_detector, "v2": second_detector}
"""Writes a whole folder of random weights for a detector."""
