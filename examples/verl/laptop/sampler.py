"""verl's replay buffer, which looks for finished prompts ten times a second.

By itself it looks every two seconds: longer than a step of laptop.sh takes.
"""

from __future__ import annotations

from typing import Any

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer


class PromptReplayBuffer(ReplayBuffer):
    """The same, with another interval; `trainer.v1.sampler.custom_sampler` names it."""

    def __init__(self, **kwargs: Any) -> None:
        """Takes what verl gives to a replay buffer."""
        super().__init__(poll_interval=0.1, **kwargs)
