"""Rollout dumps in verl's format, with what ICPO knows of each rollout.

verl writes one line of JSON a row: input, output, gts, score, step, uid. To these come expert,
accepted, trained, demos, expert_prompt, reward, bonus, and what the reward function told; and lines
for expert rollouts that were rejected and on-policy ones that made room, with trained = false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["DumpRow", "dump_columns", "dump_rows"]

Decode = Callable[[Sequence[int]], str]

#: Columns that verl writes. A reward function that tells something under such a name would hide
#: them.
_OF_VERL = frozenset({"input", "output", "gts", "score", "step", "uid"})


@dataclass(frozen=True)
class DumpRow:
    """One line."""

    input: str
    output: str
    gold: Any
    score: float
    details: Mapping[str, Any]


def dump_rows(
    uid: str,
    prompt: str,
    gold: Any,
    rows: Mapping[int, tuple[str, float]],
    record: Mapping[str, Any],
    decode: Decode,
) -> Iterator[DumpRow]:
    """The lines of a group.

    Args:
        uid: of the prompt.
        prompt: x, as text.
        gold: the ground truth.
        rows: response and score of each row of the batch, by its number in the group.
        record: what the worker told of the group.
        decode: token ids to text.
    """
    for number, (response, score) in sorted(rows.items()):
        described = dict(record["rows"][number])
        yield DumpRow(prompt, response, gold, score, _details(f"{uid}_{number}", described, decode))
    for number, told in enumerate(record["left_out"]):
        described = dict(told)
        response = decode(described.pop("response_ids"))
        details = _details(f"{uid}_out{number}", described, decode)
        yield DumpRow(prompt, response, gold, described["reward"], details)


def dump_columns(rows: Sequence[DumpRow]) -> dict[str, list[Any]]:
    """Columns beside verl's own. Every line has all of them."""
    names = dict.fromkeys(name for row in rows for name in row.details)
    return {name: [row.details.get(name) for row in rows] for name in names}


def _details(uid: str, described: dict[str, Any], decode: Decode) -> dict[str, Any]:
    expert_prompt = described.pop("expert_prompt_ids", None)
    return {
        "uid": uid,
        **{name: value for name, value in described.items() if name not in _OF_VERL},
        "expert_prompt": None if expert_prompt is None else decode(expert_prompt),
    }
