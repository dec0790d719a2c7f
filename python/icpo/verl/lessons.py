"""Steps that imitate: the rows of verl's data set that wait for it, and where they are kept."""

from __future__ import annotations

import json
import pickle
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tensordict.tensorclass import NonTensorData, NonTensorStack
from verl.utils import tensordict_utils as tu

from icpo.errors import CheckpointError
from icpo.mixing import Timetable

__all__ = ["joined", "load_waiting", "rows_of", "save_waiting", "unsolved_in"]

#: In verl's folder of a step.
FILE = "icpo_lessons.pt"


def rows_of(batch: Any) -> list[Any]:
    """The rows of a batch, each a batch of one."""
    return [batch[place : place + 1] for place in range(len(batch))]


def joined(rows: Sequence[Any], step: int) -> Any:
    """A batch of these rows, as if they had just come from the data set."""
    batch = tu.concat_tensordict(list(rows))
    # A row may have been in an earlier step under its id.
    ids = [NonTensorData(str(uuid.uuid4())) for _ in rows]
    batch["uid"] = NonTensorStack.from_list(ids)
    tu.assign_non_tensor_data(batch, "global_steps", step)
    return batch


def unsolved_in(
    records: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Any], delta: float
) -> Iterator[tuple[str, Any]]:
    """The rows that no on-policy rollout has solved, each with what tells it from others.

    Args:
        records: what workers told of each group, by uid.
        asked: the row of each uid, in their order.
        delta: the reward from which on a rollout is right.
    """
    for uid, row in asked.items():
        record = records.get(uid)
        if record is None:
            continue
        told = [*record["rows"], *record["left_out"]]
        rewards = [one["reward"] for one in told if not one["expert"]]
        if rewards and max(rewards) < delta:
            (messages,) = (getattr(item, "data", item) for item in row["raw_prompt"])
            yield json.dumps(list(messages), default=str), row


def save_waiting(folder: Path, timetable: Timetable[Any]) -> None:
    """Writes the rows that wait into verl's folder of a step."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {**timetable.state_dict(), "rows": dict(timetable.waiting)}
    torch.save(state, folder / FILE)


def load_waiting(folder: Path, timetable: Timetable[Any]) -> None:
    """Continues as the folder says; without the file nothing waits.

    Raises:
        CheckpointError: naming the file, if it can not be read.
    """
    file = folder / FILE
    if not file.exists():
        return
    try:
        state = torch.load(file, weights_only=False)
        timetable.load_state_dict(state, state["rows"])
    except (
        *(OSError, EOFError, RuntimeError, pickle.UnpicklingError),
        *(KeyError, TypeError, ValueError, CheckpointError),
    ) as error:
        raise CheckpointError(f"{file}: {error}") from error
