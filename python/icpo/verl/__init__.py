"""ICPO in the released verl, on with one flag.

``python -m verl.trainer.main_ppo +icpo=on icpo.demonstrations.source=demos.jsonl ...``

verl finds `icpo.verl.plugin` through its entry point, Hydra finds the settings
(``config/icpo/on.yaml``). Nothing is imported here: `icpo.verl.reward` needs neither verl nor
torch.
"""
