"""A metric of samples in the shape that lighteval takes; lighteval is not imported.

lighteval 0.13 asks for a class of its own as base::

    class Accuracy(SampleMetric, SampleLevelComputation): ...

    SampleLevelMetric(..., sample_level_fn=Accuracy())
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from icpo.reward.checker import Checker

__all__ = ["SampleMetric", "sample_metric"]


class SampleMetric:
    """From a document and a model's response to a score.

    Understands lighteval's ``compute(doc, model_response)``, where ``doc.get_golds()`` and
    ``model_response.final_text`` (or ``.text``) give the texts, and the older
    ``(golds, predictions)``.
    """

    def __init__(
        self,
        checker: Checker | None = None,
        aggregation_function: Callable[[list[float]], float] = max,
    ) -> None:
        """Takes the strict checker, and the best of several predictions, unless given others."""
        self.checker = checker or Checker()
        self.aggregation_function = aggregation_function

    def compute(self, doc: Any, model_response: Any, **_: Any) -> float:
        """The score of a document's predictions."""
        golds = doc.get_golds() if hasattr(doc, "get_golds") else doc
        predictions = next(
            (
                getattr(model_response, name)
                for name in ("final_text", "text")
                if hasattr(model_response, name)
            ),
            model_response,
        )
        return self(golds, predictions)

    def __call__(self, golds: Sequence[str], predictions: Sequence[str], **_: Any) -> float:
        """The score of predictions."""
        golds = [golds] if isinstance(golds, str) else list(golds)
        predictions = [predictions] if isinstance(predictions, str) else list(predictions)
        scores = self.checker.score(predictions, [golds] * len(predictions))
        return self.aggregation_function(scores.tolist() or [0.0])


def sample_metric(golds: Sequence[str], predictions: Sequence[str], **kwargs: Any) -> float:
    """`SampleMetric` with its defaults: 1.0 if any of the predictions gives any of the golds."""
    return SampleMetric()(golds, predictions, **kwargs)
