"""Intervals and paired differences against SciPy's bootstrap, ICC against the analysis of variance written out."""

import numpy as np
import pytest
from scipy.stats import bootstrap, pearsonr

from icface.metrics.correlation import correlation, icc, person_correlation
from icface.metrics.people import RESAMPLES, Estimate, difference, joined, mean, ratio, sums


def people_and_values(seed: int = 0, people: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Frames of people who differ more from each other than one person's frames do, differently many of each."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(5, 40, people)
    person = np.repeat(np.arange(people), counts)
    return person, generator.normal(0, 1, people)[person] + generator.normal(0, 0.2, len(person))


def test_the_interval_is_scipys_over_people() -> None:
    person, values = people_and_values()
    estimate = mean(values, person, 30)
    assert estimate.value() == pytest.approx(values.mean())
    totals = np.stack([np.bincount(person, values), np.bincount(person)], axis=1)

    def statistic(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.sum(axis=axis) / b.sum(axis=axis)

    expected = bootstrap(
        tuple(totals.T), statistic, paired=True, vectorized=True, n_resamples=RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    np.testing.assert_allclose(estimate.interval(), expected, atol=0.05)
    low, high = estimate.interval()
    frames = bootstrap((values,), np.mean, n_resamples=500, method="percentile", rng=0).confidence_interval
    assert high - low > 2 * (frames[1] - frames[0]), "frames of one person are not independent"


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(60):
        person, values = people_and_values(seed)
        low, high = mean(values, person, 30).interval()
        held += low <= 0 <= high
    assert 50 <= held <= 60  # 95 % of 60 are 57


def test_one_person_and_what_says_nothing_have_no_interval() -> None:
    assert mean([1.0, 2.0], np.zeros(2, int), 1).interval() is None
    nothing = mean([np.nan, np.nan], np.arange(2), 2)
    assert nothing.value() is None and nothing.interval() is None
    one_of_two = mean([1.0, np.nan], np.arange(2), 2)
    assert one_of_two.value() == 1 and one_of_two.interval() is None


def test_a_paired_difference_sees_what_two_intervals_cannot() -> None:
    person, values = people_and_values()
    generator = np.random.default_rng(1)
    better = values - 0.05 + generator.normal(0, 0.02, len(values))
    first, second = mean(values, person, 30), mean(better, person, 30)
    found = difference(first, second)
    assert found.value == pytest.approx(better.mean() - values.mean())
    assert found.real is True and found.interval[1] < 0
    assert found.people == 30
    assert first.interval()[0] < second.value() < first.interval()[1], "apart they look alike"
    noise = mean(values + generator.normal(0, 0.05, len(values)), person, 30)
    assert difference(first, noise).real is False
    assert difference(first, mean(values * np.nan, person, 30)) is None
    with pytest.raises(ValueError, match="30 and 2 people"):
        difference(first, mean([1.0, 2.0], np.arange(2), 2))


def test_equal_models_do_not_differ() -> None:
    person, values = people_and_values()
    found = difference(mean(values, person, 30), mean(values, person, 30))
    assert found.value == 0 and found.interval == (0, 0) and found.real is False


def test_scores_of_several_sums() -> None:
    person = np.array([0, 0, 1])
    first, second = mean([1.0, 2, 3], person, 2), mean([2.0, 4, 6], person, 2)
    assert joined([first, second], lambda parts: parts[0] / parts[1]).value() == 0.5
    quotient = Estimate(sums=sums([[1.0, 2, 3], [4.0, 4, 4]], person, 2), of=ratio)
    assert quotient.value() == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_a_correlation_of_sums_is_scipys(seed: int) -> None:
    generator = np.random.default_rng(seed)
    person, x = people_and_values(seed)
    y = 0.5 * x + generator.normal(0, 1, len(x)) + 100  # far from 0: sums of squares must not cancel
    x[generator.random(len(x)) < 0.2] = np.nan
    both = np.isfinite(x)
    assert correlation(x, y, person, 30).value() == pytest.approx(pearsonr(x[both], y[both]).statistic, abs=1e-9)
    assert correlation(x, np.full_like(y, 0.1), person, 30).value() is None
    assert correlation(x[:4], y[:4], person[:4], 30).value() is None
    assert correlation(x, y, person, 30, least_deviation=50).value() is None


@pytest.mark.parametrize("seed", range(3))
def test_icc_is_the_two_way_analysis_of_variance(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.normal(0, 1, 40)
    ratings = np.stack([truth, 0.6 * truth + generator.normal(0, 0.5, 40) + 2], axis=1)
    targets, raters = ratings.shape
    grand = ratings.mean()
    between = raters * ((ratings.mean(axis=1) - grand) ** 2).sum()
    judges = targets * ((ratings.mean(axis=0) - grand) ** 2).sum()
    error = ((ratings - grand) ** 2).sum() - between - judges
    bms, ems = between / (targets - 1), error / ((targets - 1) * (raters - 1))
    expected = (bms - ems) / (bms + (raters - 1) * ems)
    assert icc(ratings[:, 0], ratings[:, 1], np.arange(40) % 5, 5).value() == pytest.approx(expected)


def test_icc_of_shrout_and_fleiss_own_table() -> None:
    """Their four judges two at a time, worked out by hand from the sums of squares."""
    first, second = [9.0, 6, 8, 7, 10, 6], [2.0, 1, 4, 1, 5, 2]
    x, y = np.array(first) - np.mean(first), np.array(second) - np.mean(second)
    assert icc(first, second, np.arange(6), 6).value() == pytest.approx(2 * (x @ y) / (x @ x + y @ y))
    assert icc(first, np.array(first) + 3, np.arange(6), 6).value() == pytest.approx(1), "a constant does not count"


def test_people_who_hardly_vary_have_no_part_in_the_mean_over_people() -> None:
    generator = np.random.default_rng(0)
    person = np.repeat([0, 1, 2], 20)
    asked = generator.normal(0, [1.0, 0.1, 1.0], (20, 3)).T.ravel()
    found = np.where(person == 2, 0.7, asked + generator.normal(0, 0.3, 60))
    estimate = person_correlation(asked, found, person, person, 3, 0.3)
    own = pearsonr(asked[:20], found[:20]).statistic
    assert estimate.value() == pytest.approx(own / 2), "the one whose picture never changes counts as 0"
    assert estimate.contributing() == 2
