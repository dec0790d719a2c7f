"""What verl loads in every process by the entry point ``verl.plugins``, to fill its registries.

A plugin that fails to load is passed over by verl, at a log level that nobody sees. The settings
that ``+icpo=on`` makes then name a trainer, a loss and an agent loop that do not exist, which ends
the run; `icpo.verl.start` ends it earlier, with the reason.
"""

from __future__ import annotations

from icpo.verl import expert, loss, reward_manager, trainer
from icpo.verl.checks import LOSS, TRAINER
from icpo.verl.hooks import HookError, check_hooks

__all__ = ["check_registered"]

#: Imported for what they register: the agent loop of expert prompts, the policy loss, the reward
#: manager, the trainer.
REGISTERING = (expert, loss, reward_manager, trainer)


def check_registered() -> None:
    """Checks that verl knows everything, and that its hooks are those that this is written for.

    Raises:
        HookError: naming what is missing or has changed.
    """
    version = check_hooks()
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY
    from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY

    for kind, name, registry in (
        ("trainer", TRAINER, TRAINER_REGISTRY),
        ("policy loss", LOSS, POLICY_LOSS_REGISTRY),
    ):
        if name not in registry:
            raise HookError(
                f"verl {version}: expected the {kind} {name!r} among {', '.join(registry)}"
            )
