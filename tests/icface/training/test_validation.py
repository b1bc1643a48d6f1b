from dataclasses import replace

import numpy as np
import pytest
import torch
from support.synthetic_pairs import synthetic_frames, tiny_config, tiny_training

from icface.training.validation import ValidationMetrics, correlation, validate


class Collapsed(torch.nn.Module):
    def forward(self, image, attributes):
        return torch.full_like(image, 0.3)


def test_r_is_numpys_over_what_was_measured():
    generator = torch.Generator().manual_seed(0)
    encoded = torch.rand(40, 3, generator=generator)
    read = encoded + 0.3 * torch.randn(40, 3, generator=generator)
    measured = torch.rand(40, 3, generator=generator) < 0.7
    encoded[:, 2] = 0.5  # does not vary
    found = correlation(read, encoded, measured)
    for index in range(2):
        seen = measured[:, index].numpy()
        expected = np.corrcoef(read[seen, index].numpy(), encoded[seen, index].numpy())[0, 1]
        assert found[index].item() == pytest.approx(expected, abs=1e-5)
    assert torch.isnan(found[2])


def test_what_is_not_read_is_not_heard():
    metrics = ValidationMetrics(
        r=torch.tensor([0.5, 0.29, float("nan"), -0.9]), neutral_variance=1.0, neutral_units=0.0
    )
    assert metrics.reliable_attributes(0.3).tolist() == [1, 0, 0, 0]
    assert metrics.reliable_attributes(0.0).tolist() == [1, 1, 1, 1]


def test_one_neutral_face_for_everybody_is_seen():
    training = tiny_training(tiny_config(model={"pixels_from": "neutral"}))
    frames = synthetic_frames(12)
    model = training.average.model
    fresh = validate(model, training.discriminator, frames)
    assert fresh.neutral_variance > 0.5  # nearly the source itself
    model.neutraliser = Collapsed()
    assert validate(model, training.discriminator, frames).neutral_variance == pytest.approx(0, abs=1e-6)
    names = set(fresh.metrics(model.schema))
    assert {"D/r/pose_yaw", "N/variance", "N/units"} <= names


def test_one_person_says_nothing_of_whether_everybody_gets_one_face():
    training = tiny_training(tiny_config())
    frames = replace(synthetic_frames(6), identity=torch.zeros(6, dtype=torch.int64))
    found = validate(training.average.model, training.discriminator, frames)
    assert found.neutral_variance is None
    assert "N/variance" not in found.metrics(training.average.model.schema)
