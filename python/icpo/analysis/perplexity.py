"""Instance perplexity of one model against another's: exp(−mean log-probability) (Figure 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icpo.analysis import style
from icpo.analysis.replay import Continuation, Replayed
from icpo.analysis.tidy import Row
from icpo.analysis.words import token_ids
from icpo.data.schemas import SCHEMAS, recognise_rows
from icpo.demos import Template, tokenizer_encoder
from icpo.errors import DataError
from icpo.evaluation.paired import sign_flip
from icpo.tables import UnreadableRow, placed_rows
from icpo.types import Demo

__all__ = [
    "Likelihood",
    "draw_perplexity",
    "likelihood",
    "perplexity",
    "solutions_of_file",
    "summary",
]


@dataclass(frozen=True)
class Likelihood:
    """Of one text under one model."""

    #: Σ ln p over its tokens.
    logp: float
    tokens: int

    @property
    def per_token(self) -> float:
        """Mean ln p; NaN of no tokens."""
        return self.logp / self.tokens if self.tokens else float("nan")

    @property
    def perplexity(self) -> float:
        """exp of the negative mean; infinite beyond what a float holds."""
        with np.errstate(over="ignore"):
            return float(np.exp(-np.float64(self.per_token)))


def likelihood(replayed: Replayed) -> Likelihood:
    """Added up in float64."""
    return Likelihood(float(replayed.logp.sum(dtype=np.float64)), len(replayed.logp))


def solutions_of_file(path: Path, template: Template, tokenizer: Any) -> list[Continuation]:
    """The worked solutions of a data set, each behind the bare prompt of its question.

    Args:
        path: JSON lines, CSV or parquet of a schema that `icpo.data.schemas` recognises.
        template: of prompts; what it has between question and solution comes before the solution.
        tokenizer: of the models.

    Raises:
        DataError: naming the row that can not be read, or has no solution.
    """
    placed = list(placed_rows(path))
    schema = recognise_rows(placed)
    if schema is None:
        raise DataError(f"{path}: expected solutions, in a schema of {', '.join(SCHEMAS)}")
    encode = tokenizer_encoder(tokenizer)
    found = []
    for row in placed:
        try:
            question, solutions = schema.question(row), schema.solutions(row)
        except UnreadableRow as error:
            raise row.error(error) from None
        if not solutions:
            raise row.error("expected a worked solution, the row has none")
        prompt = template.render(question, ())
        try:
            before = np.array(encode(prompt, template.chat), np.int64)
        except Exception as error:  # what tokenizers raise is nothing more special
            raise row.error(f"its prompt has no tokens: {error}") from error
        for solution in solutions:
            text = _continuation(template, question, solution, prompt)
            try:
                tokens = np.array(token_ids(tokenizer, text), np.int64)
            except DataError as error:
                raise row.error(error) from error
            found.append(Continuation(before, tokens, f"{path}: {row.place}"))
    return found


def _continuation(template: Template, question: str, solution: str, prompt: str) -> str:
    """What follows the prompt: in a text often a space, then the solution; in a chat that alone."""
    if template.chat:
        return solution
    whole = template.shown(Demo("", question, solution))
    return whole[len(prompt) :] if whole.startswith(prompt) else solution


def perplexity(
    texts: Sequence[Continuation], models: Mapping[str, Sequence[Likelihood]]
) -> list[Row]:
    """A row for each text and model."""
    return [
        {
            "text": number,
            "place": text.place,
            "model": name,
            "tokens": of_model[number].tokens,
            "logp": of_model[number].logp,
            "perplexity": of_model[number].perplexity,
        }
        for name, of_model in models.items()
        for number, text in enumerate(texts)
        if of_model[number].tokens
    ]


def summary(rows: Sequence[Row]) -> list[Row]:
    """Each model against the first: medians, and in how many texts it is the less surprised.

    ``p`` is that of the sign-flip test of equal mean log-perplexity, drawn with a fixed seed.
    """
    logs = _logs(rows)
    first = next(iter(logs.values()))
    found: list[Row] = []
    for number, (name, values) in enumerate(logs.items()):
        tokens = sum(row["tokens"] for row in rows if row["model"] == name)
        logp = sum(row["logp"] for row in rows if row["model"] == name)
        found.append(
            {
                "model": name,
                "texts": len(values),
                "tokens": tokens,
                "perplexity": float(np.exp(-logp / tokens)),
                "median": float(np.exp(np.median(values))),
                "below_first": float((values < first).mean()) if number else None,
                "p": sign_flip(values - first) if number else None,
            }
        )
    return found


def _logs(rows: Sequence[Row]) -> dict[str, NDArray[np.float64]]:
    """ln of the perplexities by model, in the same order of texts."""
    names = dict.fromkeys(row["model"] for row in rows)
    return {
        name: np.array([-row["logp"] / row["tokens"] for row in rows if row["model"] == name])
        for name in names
    }


def draw_perplexity(rows: Sequence[Row], stem: Path) -> tuple[Path, ...]:
    """Each text as a point: the first model across, the others up. Below the diagonal: likelier."""
    logs = _logs(rows)
    (first, across), *others = logs.items()
    with style.sheet(4.6, 4.4) as (figure, axes):
        for index, (name, up) in enumerate(others):
            style.points(axes, index, np.exp(across), np.exp(up), name)
        low, high = (f(np.concatenate(list(logs.values()))) for f in (np.min, np.max))
        ends = np.exp([low - 0.03 * (high - low) - 1e-3, high + 0.03 * (high - low) + 1e-3])
        axes.plot(ends, ends, color=style.GREY, linewidth=0.9, zorder=0)
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
        style.plain_logarithms(axes)
        axes.set_title("Perplexity of each text")
        axes.set_xlabel(f"under {first}")
        axes.set_ylabel("under the other" if len(others) > 1 else f"under {others[0][0]}")
        if len(others) > 1:
            style.legend(axes, figure)
        return style.save(figure, stem)
