"""The paper's data, and what need not be said of well-known data sets."""

from __future__ import annotations

from icpo.data.sources import Source

__all__ = ["INSTRUCTION", "KNOWN", "PAPER"]

#: Behind each question, as in the authors' data.
INSTRUCTION = "Let's think step by step and output the final answer within \\boxed{}."

#: By table: OpenR1-Math (45k) is trained on, MATH's training set is shown, and of the benchmarks
#: those are here that are short enough to look at every few steps.
PAPER: dict[str, tuple[Source, ...]] = {
    "train": (Source("Elliott/Openr1-Math-46k-8192"),),
    "validation": (
        Source("HuggingFaceH4/MATH-500", "test"),
        Source("HuggingFaceH4/aime_2024", "train"),
        Source("math-ai/aime25", "test"),
        Source("math-ai/amc23", "test"),
    ),
    "demos": (Source("DigitalLearningGmbH/MATH-lighteval"),),
}

#: Splits and configurations by the name of the data set.
KNOWN: dict[str, Source] = {
    source.path: source
    for source in (
        *(source for sources in PAPER.values() for source in sources),
        Source("openai/gsm8k", config="main"),
        Source("open-r1/OpenR1-Math-220k", config="default"),
        Source("TIGER-Lab/MathInstruct"),
    )
}
