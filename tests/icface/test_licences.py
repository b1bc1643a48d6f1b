from itertools import pairwise, permutations

import pytest

from icface.attributes import AttributeSchema
from icface.bundle import BundleConfig
from icface.licences import Restriction, most_restrictive, restriction
from icface.networks.config import ModelConfig
from icface.release import LICENCE
from icface.training.init_from import inherited


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("CC0-1.0", Restriction.PUBLIC_DOMAIN),
        ("public domain", Restriction.PUBLIC_DOMAIN),
        ("MIT", Restriction.ATTRIBUTION),
        ("BSD-3-Clause", Restriction.ATTRIBUTION),
        ("Apache-2.0", Restriction.ATTRIBUTION),
        ("CC-BY-4.0", Restriction.ATTRIBUTION),
        ("CC BY-SA 4.0", Restriction.SHARE_ALIKE),
        ("LGPL-2.1", Restriction.SHARE_ALIKE),
        ("Pexels licence", Restriction.OTHER),
        ("permit of the land", Restriction.OTHER),  # "mit" within a word is no licence
        ("CC BY-NC 4.0", Restriction.NO_COMMERCE),
        ("CC-BY-NC-SA-4.0", Restriction.NO_COMMERCE),
        ("CC BY-ND 4.0", Restriction.NO_COMMERCE),
        ("for research purposes", Restriction.NO_COMMERCE),
        ("Noncommercial", Restriction.NO_COMMERCE),
        ("unknown", Restriction.NO_COMMERCE),
        ("", Restriction.NO_COMMERCE),
        (LICENCE, Restriction.NO_COMMERCE),
        ("MIT, CC BY-NC 4.0", Restriction.NO_COMMERCE),
        ("Pexels licence (a, b), MIT (c)", Restriction.OTHER),
    ],
)
def test_how_much_a_licence_binds(text: str, level: Restriction):
    assert restriction(text) is level


def test_the_most_restrictive_one_wins_in_any_order():
    ladder = ["CC0", "MIT", "CC BY-SA 4.0", "Pexels licence", "non-commercial"]
    for weaker, stronger in pairwise(ladder):
        assert {most_restrictive(*pair) for pair in permutations([weaker, stronger])} == {stronger}
    assert most_restrictive() == "unknown"
    assert most_restrictive("MIT", "") == "unknown"


def test_terms_that_bind_as_much_are_all_kept_and_once():
    both = most_restrictive("non-commercial (A)", "CC BY-NC (B)")
    assert both == "non-commercial (A); CC BY-NC (B)"
    assert most_restrictive(both, "CC BY-NC (B)", "MIT") == both


def test_a_fine_tune_takes_over_licence_and_sources():
    def config(licence, *sources):
        return BundleConfig(
            model=ModelConfig(),
            schema=AttributeSchema.default(),
            licence=licence,
            training={"steps": 3, "sources": list(sources)},
        )

    made = inherited(config("MIT", "s3://mine", "s3://both"), config("non-commercial", "s3://both", "s3://theirs"))
    assert made.licence == "non-commercial"
    assert made.training == {"steps": 3, "sources": ["s3://mine", "s3://both", "s3://theirs"]}
