"""The check before anything is started: in seconds, in the process that was called."""

from __future__ import annotations

import sys
from typing import Any

from hydra.experimental.callback import Callback

from icpo.errors import IcpoError

__all__ = ["StartCheck"]


class StartCheck(Callback):  # type: ignore[misc]  # hydra is not typed here
    """Hydra calls this with the composed configuration, because ``on.yaml`` asks for it."""

    def on_run_start(self, config: Any, **kwargs: Any) -> None:
        """Ends the program with one message if ICPO could not work as configured."""
        # verl passes over plugins that fail to load, and Hydra turns exceptions of callbacks into
        # warnings; so this imports the plugin once more, and leaves by the one way out.
        try:
            from icpo.verl import plugin
            from icpo.verl.checks import check_config
            from icpo.verl.demos import demo_sampler, load_demonstrations

            plugin.check_registered()
            settings = check_config(config)
            if settings.n_off > 0:
                demo_sampler(settings.demonstrations, load_demonstrations(settings.demonstrations))
        except (IcpoError, ImportError) as error:
            sys.exit(f"icpo: {error}")
