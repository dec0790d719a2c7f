"""Methods as the demonstration names them: a composition of `icpo.algorithms`, and changes of it.

icpo                     the composition
icpo:reference           with the ratio of the authors' code: a preset of the loss
icpo:lam=0.1,n_off=2     with other values: fields of the loss, the plan or the bonus
icpo:optim.lr=1e-3       with any other setting of the trainer
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from icpo.algorithms import ALGORITHMS, Bonus
from icpo.errors import ConfigError
from icpo.mixing import Plan
from icpo.objective import LossConfig

__all__ = ["BASELINE", "Method"]

#: What the others are compared with.
BASELINE = "grpo"

#: Where a setting without dots stands in the trainer's configuration.
SECTIONS = {
    **{field.name: "algorithm.loss" for field in dataclasses.fields(LossConfig) if field.init},
    **{field.name: "algorithm.bonus" for field in dataclasses.fields(Bonus)},
    **{field.name: "algorithm" for field in dataclasses.fields(Plan)},
}


@dataclass(frozen=True)
class Method:
    """What a run is trained by."""

    #: As it was written.
    name: str
    #: What to change in the example's configuration.
    settings: tuple[str, ...]

    @classmethod
    def of(cls, name: str) -> Method:
        """Reads ``algorithm[:preset][:key=value,...]``.

        Raises:
            ConfigError: if there is no such composition or setting.
        """
        algorithm, _, changes = name.partition(":")
        if algorithm not in ALGORITHMS:
            known = ", ".join(ALGORITHMS)
            raise ConfigError(f"methods: expected one of {known}, got {algorithm!r}")
        # The whole section: what the example changes of its own composition is not for others.
        settings = [f"algorithm={{name: {algorithm}}}"]
        for change in filter(None, changes.split(",")):
            key, equals, value = change.partition("=")
            if not equals:
                settings.append(f"algorithm.loss.preset={key}")
            elif "." in key:
                settings.append(change)
            elif key in SECTIONS:
                settings.append(f"{SECTIONS[key]}.{key}={value}")
            else:
                known = ", ".join(SECTIONS)
                raise ConfigError(
                    f"methods: {name}: expected one of {known}, or a setting with its section, "
                    f"got {key!r}"
                )
        return cls(name, tuple(settings))

    @property
    def folder(self) -> str:
        """The name as part of a path."""
        return re.sub(r"[^\w.+-]+", "-", self.name)
