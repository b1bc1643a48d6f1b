"""Masks, flow and visibility, against rays that are traced through every triangle, and against pictures."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from icface.synthetic.body import WORN, build_body
from icface.synthetic.camera import FIELD, FRAME, Motion, landmarks, posed
from icface.synthetic.head import PARTS, load_head
from icface.synthetic.people import Light, draw_person
from icface.synthetic.pixel_truth import LABELS, flows, masks
from icface.synthetic.render import render
from icface.synthetic.texture import hair_depth

SIZE = 22
WINDOW = np.array([[FRAME * 0.22, FRAME * 0.2, FRAME * 0.58]])
OTHER = np.array([[FRAME * 0.25, FRAME * 0.2, FRAME * 0.5]])


class Rays:
    """Rays from the camera through a posed body (Moeller and Trumbore), in double precision."""

    def __init__(self, body, motion):
        corners = body.corner_vertex[body.triangles].numpy()
        self.triangles = posed(body, motion)[0].numpy().astype(np.float64)[corners]
        self.eye = np.array([0, 0, body.person.distance])

    def hits(self, towards):
        """The fronts that a ray meets: their numbers, places on the ray and shares of the corners, nearest first."""
        first, along, aside = self.triangles[:, 0], *(self.triangles[:, i] - self.triangles[:, 0] for i in (1, 2))
        across = np.cross(towards, aside)
        size = (along * across).sum(1)
        from_first = self.eye - first
        around = np.cross(from_first, along)
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v, place = ((a * b).sum(1) / size for a, b in ((from_first, across), (around, towards), (aside, around)))
        (met,) = np.nonzero((size > 0) & (u >= 0) & (v >= 0) & (u + v <= 1) & (place > 0))
        met = met[np.argsort(place[met], kind="stable")]
        return [(number, place[number], np.array([1 - u[number] - v[number], u[number], v[number]])) for number in met]

    def through(self, pixel):
        """The direction to a place (2,) of the whole picture, one decimetre along the axis for each unit."""
        x, y = (np.asarray(pixel) - FRAME / 2) * FIELD / FRAME / self.eye[2]
        return np.array([x, -y, -1])

    def pixel(self, point):
        x, y, depth = point[0], -point[1], self.eye[2] - point[2]
        return FRAME / 2 + np.array([x, y]) / depth * self.eye[2] * FRAME / FIELD


def traced(body, motion, other):
    """Triangle (-1 for none), shares, flow and visibility of each pixel of WINDOW in `motion` to OTHER in `other`."""
    here, there = Rays(body, motion), Rays(body, other)
    triangle = np.full((SIZE, SIZE), -1)
    shares, flow, seen = np.zeros((SIZE, SIZE, 3)), np.zeros((SIZE, SIZE, 2)), np.zeros((SIZE, SIZE), bool)
    for row in range(SIZE):
        for column in range(SIZE):
            centre = np.array([column + 0.5, row + 0.5])
            pixel = WINDOW[0, :2] + centre * WINDOW[0, 2] / SIZE
            hits = here.hits(here.through(pixel))
            if hits:
                number, _, shares[row, column] = hits[0]
                triangle[row, column] = number
                point = shares[row, column] @ there.triangles[number]
                towards = point - there.eye
                met = there.hits(towards)
                seen[row, column] = any(each == number for each, _, _ in met) and (
                    (1 - met[0][1]) * np.linalg.norm(towards) < 0.002
                )
                pixel = there.pixel(point)
            else:
                seen[row, column] = not there.hits(there.through(pixel))
            place = (pixel - OTHER[0, :2]) * SIZE / OTHER[0, 2]
            flow[row, column] = place - centre
            seen[row, column] &= bool(((place >= 0) & (place < SIZE)).all())
    return triangle, shares, flow, seen


@pytest.fixture(scope="module")
def turned(body, make_still):
    """A face that turns, speaks and blinks beside one that looks ahead, and what rays say of them."""
    motion = make_still({"jawOpen": 0.7, "eyeBlink": 0.4, "mouthSmile": 0.8}, yaw=0.5, pitch=0.1)
    return motion, make_still(), traced(body, motion, make_still())


def test_flow_and_visibility_are_those_of_rays(body, turned):
    motion, other, (triangle, _, flow, seen) = turned
    found, visible = flows(body, motion, WINDOW, SIZE, other, OTHER)
    assert found.shape == (1, SIZE, SIZE, 2)
    assert found.dtype == np.float32
    apart = np.linalg.norm(found[0] - flow, axis=-1)
    assert np.linalg.norm(flow[triangle >= 0], axis=-1).max() > 4
    # A ray through an edge may meet the triangle on either side of it.
    assert (apart < 0.01).mean() > 0.99
    assert (visible[0] == seen).mean() > 0.99
    surface = triangle >= 0
    assert 0.2 < seen[surface].mean() < 0.9
    assert 0.1 < seen[~surface].mean() < 0.95


def test_a_mask_names_the_part_that_a_ray_meets(body, turned):
    motion, _, (triangle, shares, _, _) = turned
    found = masks(body, motion, WINDOW, SIZE)[0]
    head = load_head()
    named = {"eye": "eyes", "mouth": "mouth", "teeth": "mouth", "tongue": "mouth", "lash": "face"}
    counted = dict.fromkeys(LABELS, 0)
    wrong = 0
    for row, column in np.ndindex(SIZE, SIZE):
        number = triangle[row, column]
        if number < 0:
            expected = ("background",)
        elif (part := int(body.triangle_part[number])) == WORN:
            expected = ("hair",)
        elif PARTS[part] in named:
            expected = (named[PARTS[part]],)
        else:
            place = shares[row, column] @ head.vertices[head.corner_vertex[head.triangles[number]]]
            depth = hair_depth(place[None].astype(np.float32), body.person.hair_style)[0]
            if abs(depth) < 0.06:
                continue  # hair is frayed there
            expected = ("hair",) if depth > 0 else ("face", "body")
        label = LABELS[found[row, column]]
        counted[label] += 1
        wrong += label not in expected
    assert wrong <= 4
    assert min(counted[name] for name in LABELS if name not in ("eyes", "glasses")) > 3, counted


def test_the_face_ends_at_ears_jaw_and_hairline(body, make_still):
    bald = build_body(replace(body.person, hair_style="bald"))
    whole = masks(bald, make_still(), [[0, 0, FRAME]], FRAME)[0]
    points = landmarks(bald, make_still())[0].astype(int)
    for inner in (19, 24, 27, 30, 31, 35, 48, 54, 57):
        assert LABELS[whole[points[inner, 1], points[inner, 0]]] == "face", inner
    chin, brow = points[8], points[[19, 24]].mean(axis=0)
    assert LABELS[whole[chin[1] - 6, chin[0]]] == "face"
    assert LABELS[whole[chin[1] + 12, chin[0]]] == "body"  # neck
    assert LABELS[whole[int(brow[1]) - 20, int(brow[0])]] == "face"
    assert LABELS[whole[int(brow[1]) - 90, int(brow[0])]] == "body"  # bald crown
    left, right = (np.flatnonzero(whole[points[29, 1]] == LABELS.index("face"))[end] for end in (0, -1))
    assert left == pytest.approx(points[1, 0], abs=12)
    assert right == pytest.approx(points[15, 0], abs=12)
    assert (whole == LABELS.index("hair")).sum() == 0


def test_glasses_are_marked(body, make_still):
    wearing = build_body(replace(body.person, glasses=True))
    plain, worn = (masks(one, make_still(), WINDOW, 64)[0] for one in (body, wearing))
    assert (plain == LABELS.index("glasses")).sum() == 0
    rims = worn == LABELS.index("glasses")
    assert 20 < rims.sum() < 400
    assert set(np.unique(plain[~rims] == worn[~rims])) == {True}


def test_warping_one_picture_by_the_flow_gives_the_other_where_it_is_visible(body, make_still):
    """Under light that comes from everywhere alike, so that a point has one colour however it is turned."""
    even = Light(direction=(0.0, 0.0, 1.0), strength=0.0, colour=(1.0, 1.0, 1.0), ambient=1.0, above=0.0)
    lit = build_body(replace(body.person, light=even, noise=0.0))
    size = 128
    motion = make_still({"mouthSmile": 0.9, "eyeSquint": 0.6}, yaw=0.35, roll=0.1)
    picture, other = (
        render(lit, still, window, size)[0].astype(np.float32)
        for still, window in ((motion, WINDOW), (make_still(), OTHER))
    )
    flow, visible = (array[0] for array in flows(lit, motion, WINDOW, size, make_still(), OTHER))
    inside = masks(lit, motion, WINDOW, size)[0] == LABELS.index("mouth")  # which opens to the light
    step = np.arange(size, dtype=np.float32)
    warped = cv2.remap(other, flow[..., 0] + step, flow[..., 1] + step[:, None], cv2.INTER_LINEAR)
    chosen = visible & ~inside
    assert 0.5 < chosen.mean() < 0.95
    error, unmoved = (np.abs(each - picture).max(axis=-1)[chosen] for each in (warped, other))
    assert np.median(error) < 3
    assert (error > 20).mean() < 0.05 < 0.3 < (unmoved > 20).mean()
    # Where it is hidden, warping shows something else.
    assert (np.abs(warped - picture).max(axis=-1)[~visible] > 20).mean() > 4 * (error > 20).mean()


def test_the_nose_hides_the_cheek_behind_it(body, make_still):
    """Of a face that looks ahead, the cheek beside the nose is hidden in a picture of the same face turned aside."""
    ahead, size = make_still(), 96
    mask = masks(body, ahead, WINDOW, size)[0]
    nose = (landmarks(body, ahead)[0, 30] - WINDOW[0, :2]) * size / WINDOW[0, 2]
    rows = slice(int(nose[1]) - 8, int(nose[1]) + 2)
    hidden = {}
    for yaw in (-0.6, 0.6):
        _, visible = flows(body, ahead, WINDOW, size, make_still(yaw=yaw), WINDOW)
        face = (mask == LABELS.index("face")) & ~visible[0]
        left, right = (int(face[rows, part].sum()) for part in (slice(None, int(nose[0])), slice(int(nose[0]), None)))
        hidden[yaw] = (left, right)
    assert hidden[-0.6][1] > 5 * hidden[-0.6][0] or hidden[-0.6][0] > 5 * hidden[-0.6][1]
    assert np.sign(np.subtract(*hidden[0.6])) == -np.sign(np.subtract(*hidden[-0.6]))


@pytest.mark.parametrize("number", [1, 4, 5])
def test_lower_teeth_stay_behind_the_chin(number, make_still):
    """These three people showed them through the chin."""
    body, smiling = build_body(draw_person(22, number)), make_still({"mouthSmile": 1, "jawOpen": 0.4})
    window = np.array([[FRAME * 0.3, FRAME * 0.45, FRAME * 0.4]])
    mouth = masks(body, smiling, window, 96)[0] == LABELS.index("mouth")
    lip = ((landmarks(body, smiling)[0, 55:60, 1].max() - window[0, 1]) * 96 / window[0, 2]).astype(int)
    assert mouth[:lip].sum() > 50
    assert mouth[lip + 2 :].sum() == 0


def test_frames_do_not_depend_on_those_beside_them(body, make_still):
    stills = [make_still({"jawOpen": 0.2 * index}, yaw=0.1 * index) for index in range(5)]
    motion = Motion(*(np.concatenate([getattr(each, name) for each in stills]) for name in ("units", "pose", "place")))
    windows = np.repeat(WINDOW, 5, axis=0)
    flow, seen = flows(body, motion, windows, 24, stills[0], OTHER)
    mask = masks(body, motion, windows, 24)
    alone, seen_alone = flows(body, stills[4], WINDOW, 24, stills[0], OTHER)
    np.testing.assert_allclose(flow[4], alone[0], atol=1e-4)
    assert (seen[4] == seen_alone[0]).mean() > 0.99
    assert (mask[4] == masks(body, stills[4], WINDOW, 24)[0]).mean() > 0.99
    own, all_seen = flows(body, stills[1], WINDOW, 24, stills[1], WINDOW)
    assert np.abs(own).max() < 1e-3
    assert all_seen.all()
