"""What analyzers read off synthetic faces whose units and pose are known: `python benchmarks/analyzer_truth.py`.

Prints, for each analyzer, the share of faces found, Pearson's r between set and measured on unrelated stills (each
person's mean taken away), what it reads on a frontal face at rest, and what each single unit at full strength changes
there, pitch included.
"""

import argparse

import numpy as np
import torch

from icface.analyzers import create
from icface.attributes import ATTRIBUTE_NAMES
from icface.synthetic.body import build_body
from icface.synthetic.camera import FRAME, Motion
from icface.synthetic.head import UNIT_NAMES
from icface.synthetic.labels import attributes
from icface.synthetic.motion import draw_stills
from icface.synthetic.people import draw_person
from icface.synthetic.render import render

WINDOW = (0.12, 0.12, 0.76)
"""What of the whole picture is looked at: x, y and side."""
SINGLE = (
    "browInnerUp", "browOuterUp", "browDown", "eyeWide", "eyeSquint", "eyeBlink", "cheekSquint", "noseSneer",
    "mouthUpperUp", "mouthSmile", "mouthDimple", "mouthFrown", "mouthShrugLower", "mouthStretch", "mouthPress",
    "jawOpen", "mouthPucker", "mouthFunnel", "cheekPuff",
)  # fmt: skip


def singles() -> Motion:
    """A face at rest, then each of `SINGLE` at full weight, looking straight ahead."""
    units = np.zeros((len(SINGLE) + 1, len(UNIT_NAMES)), np.float32)
    for row, name in enumerate(SINGLE, start=1):
        units[row, [i for i, unit in enumerate(UNIT_NAMES) if unit in (name, f"{name}Left", f"{name}Right")]] = 1
    nothing = np.zeros((len(units), 3), np.float32)
    return Motion(units, nothing, nothing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--stills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="of the pictures, pixels")
    parser.add_argument("--analyzers", nargs="+", default=["mediapipe", "mediapipe-torch", "dlib"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    analyzers = [create(name) for name in options.analyzers]
    stills: list[list] = [[] for _ in analyzers]
    changes: list[list] = [[] for _ in analyzers]
    for number in range(options.people):
        body = build_body(draw_person(options.seed, number))
        for motion, results in ((draw_stills(options.stills, options.seed, number), stills), (singles(), changes)):
            frames = render(body, motion, np.tile(WINDOW, (len(motion), 1)) * FRAME, options.size)
            for analyzer, into in zip(analyzers, results, strict=True):
                found = analyzer.analyze(frames, range(len(frames)), "synthetic")
                nothing = np.full(len(ATTRIBUTE_NAMES), np.nan, np.float32)
                read = np.array([faces[0].attributes if faces else nothing for faces in found])
                into.append((attributes(motion), read))
    for analyzer, pairs, single in zip(analyzers, stills, changes, strict=True):
        report(analyzer.name, pairs, single)
        analyzer.close()


def report(name: str, stills: list, singles: list) -> None:
    seen = np.concatenate([np.isfinite(read[:, 0]) for _, read in stills])
    print(f"\n## {name}: {seen.sum()} of {len(seen)} stills found")
    parts = [(true[ok], read[ok]) for true, read in stills if (ok := np.isfinite(read[:, 0])).sum() > 1]
    true, read = (np.concatenate([part[i] - part[i].mean(axis=0) for part in parts]) for i in (0, 1))
    for column, attribute in enumerate(ATTRIBUTE_NAMES):
        if np.isfinite(read[:, column]).all() and true[:, column].any() and read[:, column].any():
            slope = (true[:, column] @ read[:, column]) / (true[:, column] @ true[:, column])
            print(f"{attribute:12} r {np.corrcoef(true[:, column], read[:, column])[0, 1]:5.2f}  slope {slope:5.2f}")
    error = [np.degrees((part[1] - part[0])[:, :3].mean(axis=0)) for part in parts]
    print("pose bias, degrees:", np.mean(error, axis=0).round(1), "between people:", np.std(error, axis=0).round(1))
    rest = np.array([np.nansum(read[0, 3:]) for _, read in singles if np.isfinite(read[0, 0])])
    print(f"a face at rest: its units add up to {rest.mean():.2f}, from {rest.min():.2f} to {rest.max():.2f}")
    shown = [c for c in range(len(ATTRIBUTE_NAMES)) if np.isfinite(read[:, c]).all() and c not in (1, 2)]
    print(f"{'':16}{'set':>6}" + "".join(f"{ATTRIBUTE_NAMES[c][-5:]:>7}" for c in shown))
    change = np.nanmean([read[1:] - read[:1] for _, read in singles], axis=0)
    change[:, :3] = np.degrees(change[:, :3])
    for row, unit in enumerate(SINGLE):
        given = singles[0][0][row + 1, 3:].max()
        print(f"{unit:16}{given:6.2f}" + "".join(f"{change[row, c]:7.2f}" for c in shown))


if __name__ == "__main__":
    main()
