"""A metric of samples: `math_metric`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from icpo.math_verify.grader import verify
from icpo.math_verify.parser import ExprExtractionConfig, ExtractionTarget, parse

__all__ = ["math_metric"]

logger = logging.getLogger(__name__)

Metric = Callable[[list[str], list[str]], tuple[float, tuple[list[str], list[str]] | None]]


def math_metric(
    gold_extraction_target: Sequence[ExtractionTarget] = (ExprExtractionConfig(),),
    pred_extraction_target: Sequence[ExtractionTarget] = (ExprExtractionConfig(),),
    aggregation_function: Callable[[list[float]], float] = max,
    precision: int = 6,
) -> Metric:
    """A function from gold answers and predictions to a score, and to what was read from both.

    Args:
        gold_extraction_target: What to look for in gold answers.
        pred_extraction_target: What to look for in predictions.
        aggregation_function: From the scores of the predictions, each 1 or 0, to one.
        precision: Decimal places to which decimals are rounded.
    """

    def sample_level_fn(
        golds: list[str], predictions: list[str]
    ) -> tuple[float, tuple[list[str], list[str]] | None]:
        read_predictions = [parse(text, pred_extraction_target) for text in predictions]
        read_golds = [parse(text, gold_extraction_target) for text in golds]
        if not all(read_golds):
            raise ValueError(
                f"golds: expected an answer in each, got {golds} (predictions: {predictions})"
            )
        if not any(read_predictions):
            logger.warning("No answer found in any of %s; gold: %s", predictions, golds)
        scores = [
            float(any(verify(gold, answer, precision) for gold in read_golds))
            for answer in read_predictions
        ]
        shown = (
            [str(reading) for answer in read_golds for reading in answer],
            [str(reading) for answer in read_predictions for reading in answer],
        )
        return aggregation_function(scores), shown

    return sample_level_fn
