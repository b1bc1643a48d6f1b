"""Evaluating a model: every score stands beside that of copying the source and of the real frames."""

from icface.evaluation.pairs import EvaluationPair, PairList
from icface.evaluation.reenact import analyse, evaluate
from icface.evaluation.report import HEADLINE, HIGHER_IS_BETTER, METRICS, GroupReport, Report

__all__ = [
    "HEADLINE",
    "HIGHER_IS_BETTER",
    "METRICS",
    "EvaluationPair",
    "GroupReport",
    "PairList",
    "Report",
    "analyse",
    "evaluate",
]
