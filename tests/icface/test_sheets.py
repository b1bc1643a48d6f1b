from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import ImageFont

from icface.analyzers.face import Analyzer
from icface.animate import Animator
from icface.attributes import ATTRIBUTE_NAMES, AttributeSchema
from icface.bundle import BundleConfig, ICface
from icface.control import ACTION_UNIT_WORDS
from icface.networks.config import ModelConfig
from icface.sheets import GAP, MARGIN, Row, contact_sheet, model_sheet
from icface.video.reading import read_frames


def coloured(*colours: tuple[int, int, int]) -> list[np.ndarray]:
    return [np.full((20, 20, 3), colour, np.uint8) for colour in colours]


def test_pictures_stand_where_they_belong_on_white() -> None:
    red, green, blue = coloured((255, 0, 0), (0, 255, 0), (0, 0, 255))
    sheet = contact_sheet([Row(heading="", pictures=[red, green]), Row(heading="", pictures=[blue])], cell=50)
    assert sheet.shape == (2 * MARGIN + 100 + GAP, 2 * MARGIN + 100 + GAP, 3)
    second = MARGIN + 50 + GAP
    assert sheet[MARGIN + 25, MARGIN + 25].tolist() == [255, 0, 0]
    assert sheet[MARGIN + 25, second + 25].tolist() == [0, 255, 0]
    assert sheet[second + 25, MARGIN + 25].tolist() == [0, 0, 255]
    outside = np.ones(sheet.shape[:2], bool)
    for y, x in ((MARGIN, MARGIN), (MARGIN, second), (second, MARGIN)):
        outside[y : y + 50, x : x + 50] = False
    assert (sheet[outside] == 255).all()


def test_a_picture_keeps_its_shape() -> None:
    wide = np.full((20, 40, 3), (255, 0, 0), np.uint8)
    for cell, (width, height) in ((60, (60, 30)), ((100, 40), (80, 40))):
        sheet = contact_sheet([Row(heading="", pictures=[wide])], cell=cell)
        red = np.argwhere((sheet == (255, 0, 0)).all(axis=2))
        assert np.ptp(red, axis=0).tolist() == [height - 1, width - 1]


def test_headings_and_captions_are_written() -> None:
    pictures = coloured((9, 9, 9))
    plain = contact_sheet([Row(heading="", pictures=pictures)])
    for row in (Row(heading="Driven", pictures=pictures), Row(heading="", pictures=pictures, captions=["frame 3"])):
        sheet = contact_sheet([row])
        assert sheet.shape[0] > plain.shape[0]
        assert (sheet < 200).sum() > (plain < 200).sum() + 50


def test_a_long_caption_stays_under_its_picture() -> None:
    row = Row(
        heading="", pictures=coloured((0, 0, 0), (0, 0, 0)), captions=["a caption far too long for its place", ""]
    )
    sheet = contact_sheet([row], cell=60)
    below = sheet[MARGIN + 60 :]
    written = np.flatnonzero((below < 250).any(axis=(0, 2)))
    assert written.min() >= MARGIN and written.max() < MARGIN + 60


def test_a_caption_for_each_picture_or_none() -> None:
    with pytest.raises(ValueError, match="1 pictures cannot have 2 captions"):
        Row(heading="", pictures=coloured((0, 0, 0)), captions=["a", "b"])


def test_a_model_sheet_shows_what_can_be_set_alone(analyzer: Analyzer, sample_clips: dict[str, Path]) -> None:
    shares = dict.fromkeys(ATTRIBUTE_NAMES, 1.0) | dict.fromkeys(ATTRIBUTE_NAMES[5:], 0.0)
    frames = next(read_frames(sample_clips["single_face.mp4"], window=4))[1]
    sheets = []
    for schema in (AttributeSchema.default(), AttributeSchema.default().with_measured_shares(shares)):
        model = ICface(BundleConfig(model=ModelConfig(size=32, width=4, blocks=1), schema=schema)).eval()
        animator = Animator.from_bundle(model, analyzer)
        driving = pd.DataFrame({"AU12": np.linspace(0, 5, 4)})
        sheets.append(model_sheet(animator, animator.prepare(frames[0]), driving, list(frames), title="A model"))
    assert sheets[0].shape[1] == sheets[1].shape[1]
    assert sheets[0].shape[0] > sheets[1].shape[0] + 200


def test_every_action_unit_has_words_that_fit() -> None:
    assert tuple(ACTION_UNIT_WORDS) == ATTRIBUTE_NAMES[3:]
    font = ImageFont.load_default(13)
    assert max(font.getlength(f"{name} {words}") for name, words in ACTION_UNIT_WORDS.items()) <= 144
