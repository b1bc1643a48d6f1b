"""Left and right out of a data set's blendshapes: its schema, its labels, its training pairs."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from icface.attributes import ATTRIBUTE_NAMES, LABEL_NAMES, SIDED_UNITS, AttributeSchema
from icface.errors import IcfaceError
from icface.training.config import DataConfig
from pipelines.dataset import Dataset
from pipelines.format import label_columns, labels_of
from pipelines.loading.evaluation_pairs import EvaluationPairs
from pipelines.loading.pairs import PairBatches
from pipelines.loading.sides import training_schema
from pipelines.loading.validation_frames import validation_frames


@pytest.fixture(scope="module")
def dataset(small_dataset: Path) -> Dataset:
    return Dataset.open(str(small_dataset))


def test_stored_sides_average_to_the_stored_unit(dataset: Dataset):
    """Stored blendshapes have half precision, and AU45 is cut off at 0 on each side."""
    for group in dataset.all_row_groups():
        table = dataset.read(group, list(label_columns(sides=True)))
        labels = labels_of(table, sides=True)
        np.testing.assert_array_equal(labels[:, : len(ATTRIBUTE_NAMES)], labels_of(table))
        for unit in SIDED_UNITS:
            left, right, whole = (labels[:, LABEL_NAMES.index(name)] for name in (f"{unit}L", f"{unit}R", unit))
            both = (left > 0) & (right > 0)
            np.testing.assert_allclose(((left + right) / 2)[both], whole[both], atol=0.01, err_msg=unit)


def test_the_usual_schema_stays_as_the_data_set_has_it(dataset: Dataset):
    assert training_schema(dataset, sides=False) == dataset.schema
    sided = training_schema(dataset, sides=True)
    assert sided.names == AttributeSchema.default(sides=True).names
    for name in ("pose_yaw", "AU26", "AU14"):
        assert sided.attributes[sided.index(name)] == dataset.schema.attributes[dataset.schema.index(name)]
    smile = sided.attributes[sided.index("AU12L")]
    assert smile.trained and smile.measured_share == 1 and smile.seen is not None and smile.seen.p99 > 0.1


def test_labels_without_blendshapes_are_refused(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    read = Dataset.read

    def without(self: Dataset, *arguments: object) -> pa.Table:
        table = read(self, *arguments)  # type: ignore[arg-type]
        field = table.schema.field("blendshapes")
        return table.set_column(table.schema.names.index("blendshapes"), field, pa.nulls(len(table), field.type))

    monkeypatch.setattr(Dataset, "read", without)
    with pytest.raises(
        IcfaceError, match="has no blendshapes of its labels' analyzer, from which left and right are told"
    ):
        training_schema(dataset, sides=True)


def test_pairs_have_the_sides_and_flips_swap_them(dataset: Dataset):
    schema = training_schema(dataset, sides=True)
    options = {"batch_size": 16, "smoothing_frames": 1, "pairs_per_row_group": 1, "sides": True}

    def drawn(flip: bool) -> np.ndarray:
        pairs = PairBatches(dataset, DataConfig(flip=flip, **options), schema, 32, seed=3, steps=1)
        assert pairs.deviations().shape == (28,)
        return next(pairs.batches()).driving_encoded.numpy()

    plain, some_flipped = drawn(False), drawn(True)
    left, right = schema.index("AU12L"), schema.index("AU12R")
    swapped = plain.copy()
    for unit in SIDED_UNITS:
        at = [schema.index(f"{unit}L"), schema.index(f"{unit}R")]
        swapped[:, at] = plain[:, at[::-1]]
    units = slice(3, None)
    as_before = (some_flipped[:, units] == plain[:, units]).all(axis=1)
    mirrored = (some_flipped[:, units] == swapped[:, units]).all(axis=1)
    assert (as_before | mirrored).all() and mirrored[~as_before].any() and as_before.any()
    assert (plain[:, left] != plain[:, right]).any()


def test_frames_and_evaluation_pairs_have_them_too(dataset: Dataset):
    schema = training_schema(dataset, sides=True)
    frames = validation_frames(dataset, DataConfig(sides=True), schema, 32)
    assert frames is not None and frames.encoded.shape[1] == 28
    plain, sided = (EvaluationPairs(dataset, per_track=2, sides=sides) for sides in (False, True))
    assert plain.hash == sided.hash
    np.testing.assert_array_equal(sided.attributes()[:, :20], plain.attributes())
    first = next(iter(sided))
    assert {len(each) for each in (first.attributes, first.source_attributes, first.source_baseline)} == {36}
    assert len(first.retrieved_attributes) == 36
