"""Pictures of synthetic people: the same every time, and what they should show."""

from dataclasses import replace

import numpy as np
import pytest

from icface.synthetic.body import build_body
from icface.synthetic.camera import FRAME, landmarks
from icface.synthetic.head import UNIT_NAMES, load_head
from icface.synthetic.motion import draw_motion
from icface.synthetic.people import HAIR_STYLES, draw_person
from icface.synthetic.render import render

WINDOW = np.array([[FRAME * 0.2, FRAME * 0.22, FRAME * 0.6]])


def test_the_asset_holds_the_52_units_and_nothing_is_pickled():
    head = load_head()
    assert len(UNIT_NAMES) == 52
    assert head.unit_basis().shape == (52, len(head.vertices), 3)
    assert np.abs(head.unit_basis()).max(axis=(1, 2)).min() > 0.02
    assert len(np.unique(head.landmarks)) == 68
    assert len(head.names("macro")) == 24


def test_a_seed_gives_the_same_picture_alone_and_among_others(body):
    motion = draw_motion(6, 1)
    windows = np.repeat(WINDOW, 6, axis=0)
    first = render(body, motion, windows, 48)
    assert (render(body, motion, windows, 48) == first).all()
    again = build_body(body.person)
    assert (render(again, motion, windows, 48) == first).all()
    # Frame 0 has the same noise whether five others follow it or none.
    assert (render(body, motion[:1], WINDOW, 48) == first[:1]).all()


def test_a_window_shows_its_part_of_the_whole(body, make_still):
    quiet = build_body(replace(body.person, noise=0.0))
    whole = render(quiet, make_still(), [[0, 0, FRAME]], 256)[0].astype(float)
    part = render(quiet, make_still(), [[FRAME / 4, FRAME / 4, FRAME / 2]], 128)[0].astype(float)
    assert np.abs(whole[64:192, 64:192] - part).mean() < 1


def test_closed_eyes_show_no_white(body, make_still):
    def eye(weight):
        motion = make_still({"eyeBlink": weight})
        points = landmarks(body, make_still())[0][42:48]
        low, high = points.min(axis=0), points.max(axis=0)
        side = float(high[0] - low[0])
        window = [[low[0], (low[1] + high[1]) / 2 - side / 2, side]]
        return render(body, motion, window, 64)[0, 20:44].astype(float)

    opened, closed = eye(0), eye(1)
    assert np.abs(opened - closed).mean() > 15
    assert opened.std() > 1.5 * closed.std()


def test_people_differ_and_every_hair_style_can_be_rendered(body, make_still):
    person = draw_person(3, 1)
    pictures = [
        render(build_body(replace(person, hair_style=style)), make_still(), [[0, 0, FRAME]], 64)[0].astype(int)
        for style in HAIR_STYLES
    ]
    for number, picture in enumerate(pictures):
        assert picture.std() > 20
        assert all(np.abs(picture - other).mean() > 0.3 for other in pictures[:number])


def test_no_two_people_are_alike():
    people = [draw_person(0, number) for number in range(200)]
    assert len({person.shape for person in people}) == 200
    assert {person.hair_style for person in people} == set(HAIR_STYLES)
    assert len({person.beard for person in people}) == 5
    assert 0.1 < np.mean([person.glasses for person in people]) < 0.3
    assert np.std([np.mean(person.skin) for person in people]) > 0.1


@pytest.mark.parametrize("wrong", [(3, 51), (3, 52, 1)])
def test_a_motion_of_another_shape_is_refused(wrong):
    from icface.synthetic.camera import Motion

    with pytest.raises(ValueError, match="must be"):
        Motion(np.zeros(wrong, np.float32), np.zeros((3, 3), np.float32), np.zeros((3, 3), np.float32))
