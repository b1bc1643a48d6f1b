"""What MediaPipe reads off synthetic faces follows what was set."""

import numpy as np
import pytest

from icface.analyzers import create
from icface.attributes import ATTRIBUTE_NAMES
from icface.synthetic.body import build_body
from icface.synthetic.camera import FRAME
from icface.synthetic.labels import attributes
from icface.synthetic.motion import draw_stills
from icface.synthetic.people import draw_person
from icface.synthetic.render import render

PEOPLE, STILLS = 12, 12
LEAST = dict.fromkeys(("AU01", "AU02", "AU04", "AU12", "AU25", "AU26", "AU45"), 0.75) | dict.fromkeys(
    ("pose_pitch", "pose_yaw", "pose_roll"), 0.95
)


def test_mediapipe_finds_the_faces_and_follows_their_units_and_pose():
    """Correlation of changes: each person's mean is taken away, since zeros differ from person to person."""
    analyzer = create("mediapipe")
    true, read = [], []
    lost = 0
    for number in range(PEOPLE):
        motion = draw_stills(STILLS, 20, number)
        frames = render(
            build_body(draw_person(20, number)), motion, np.tile([0.12, 0.12, 0.76], (STILLS, 1)) * FRAME, 256
        )
        found = analyzer.analyze(frames, range(STILLS), "synthetic")
        seen = [index for index, faces in enumerate(found) if faces]
        lost += STILLS - len(seen)
        labels, measured = attributes(motion)[seen], np.array([found[index][0].attributes for index in seen])
        true.append(labels - labels.mean(axis=0))
        read.append(measured - measured.mean(axis=0))
    analyzer.close()
    assert lost <= 0.02 * PEOPLE * STILLS
    true, read = np.concatenate(true), np.concatenate(read)
    r = {
        name: np.corrcoef(true[:, column], read[:, column])[0, 1]
        for column, name in enumerate(ATTRIBUTE_NAMES)
        if name in LEAST
    }
    assert {name: round(value, 3) for name, value in r.items() if value < LEAST[name]} == {}, r
    assert np.degrees(np.abs(true - read)[:, 1:3].mean(axis=0)) == pytest.approx([0, 0], abs=4)


@pytest.mark.parametrize("unit", ["eyeBlink", "mouthSmile"])
def test_left_is_the_persons_own_left(unit, body, make_still):
    """What is set on one side of a face by its exact weight is read on that side: on the right of the picture."""
    analyzer = create("mediapipe")
    stills = [make_still(), make_still({f"{unit}Left": 0.9}), make_still({f"{unit}Right": 0.9})]
    place = np.array([[0.12, 0.12, 0.76]]) * FRAME
    frames = np.concatenate([render(body, still, place, 256) for still in stills])
    moved = np.abs(frames.astype(np.int32) - frames[0]).sum(axis=(1, 3))  # (3, width)
    columns = np.arange(256)
    left, right = (float((columns * row).sum() / row.sum()) for row in moved[1:])
    assert left > 133 and right < 123  # geometry alone: the person looks at us
    rest, on_left, on_right = (faces[0].values(sides=True) for faces in analyzer.analyze(frames, range(3), "synthetic"))
    analyzer.close()
    name = {"eyeBlink": "AU45", "mouthSmile": "AU12"}[unit]
    for found, side, other in ((on_left, "L", "R"), (on_right, "R", "L")):
        own, across = (found[name + each] - rest[name + each] for each in (side, other))
        assert own > 0.3 and own > 1.5 * across, (unit, side, own, across)
