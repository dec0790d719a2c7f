"""The reward manager ``icpo``: each response to the answer checker, in threads.

reward.reward_manager.name=icpo
+reward.reward_kwargs.profile=math_verify
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from verl.experimental.reward_loop.reward_manager import register
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.protocol import DataProto

from icpo.errors import DataError
from icpo.verl.reward import grade
from icpo.verl.reward_settings import MANAGER, checker_of

__all__ = ["IcpoRewardManager"]


@register(MANAGER)
class IcpoRewardManager(RewardManagerBase):  # type: ignore[misc]
    """Scores with the checker that ``reward.reward_kwargs`` asks for; fields as `reward.grade`."""

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        """As verl constructs it. The last three are for managers that call a reward function."""
        super().__init__(config, tokenizer, compute_score)
        self.checker = checker_of(config)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """The score of a rollout; of one in several parts the last part counts, as in verl."""
        part = data[-1:][0]
        row, ids = part.non_tensor_batch, part.batch["responses"]  # (T,)
        # Parts of one rollout are padded on the right, where the mask's end tells nothing.
        length = row.get("response_len")
        if length is None:
            length = part.batch["attention_mask"][-len(ids) :].sum()
        # In a thread, for the loop to go on; the checker lets the interpreter go meanwhile. It is
        # the loop that runs, which need not be that of the thread that made the manager.
        loop = asyncio.get_running_loop()
        fields = await loop.run_in_executor(None, self._grade, ids[: int(length)], row)
        return {"reward_score": fields["score"], "reward_extra_info": fields}

    def _grade(self, ids: Any, row: Mapping[str, Any]) -> dict[str, float | str]:
        source = row.get("data_source", "unknown")
        reward_model = row.get("reward_model")
        if not isinstance(reward_model, Mapping) or "ground_truth" not in reward_model:
            raise DataError(
                "reward_model: expected a mapping with ground_truth in every row, "
                f"got {reward_model!r} in one of data source {source}"
            )
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return grade(self.checker, source, text, reward_model["ground_truth"])
