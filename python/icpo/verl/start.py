"""The check before anything is started: in seconds, in the process that was called."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

from hydra.experimental.callback import Callback

from icpo.errors import IcpoError
from icpo.verl.hooks import HookError

__all__ = ["StartCheck"]

_PLUGIN = "icpo.verl.plugin"

#: Which plugins verl loads: ``auto``, ``none``, or names of entry points.
_POLICY = "VERL_USE_EXTERNAL_PLUGINS"


class StartCheck(Callback):  # type: ignore[misc]  # hydra is not typed here
    """Hydra calls this with the composed configuration, because ``on.yaml`` asks for it."""

    def on_run_start(self, config: Any, **kwargs: Any) -> None:
        """Ends the program with one message if ICPO could not work as configured."""
        try:
            _check_loaded()
            from icpo.verl import plugin
            from icpo.verl.checks import check_config
            from icpo.verl.demos import demo_sampler, load_demonstrations

            plugin.check_registered()
            settings = check_config(config)
            if settings.shows_demos:
                demo_sampler(settings.demonstrations, load_demonstrations(settings.demonstrations))
        except (IcpoError, ImportError) as error:
            sys.exit(f"icpo: {error}")
        except Exception:
            # Hydra turns exceptions of callbacks into warnings, and the run would begin.
            traceback.print_exc()
            sys.exit("icpo: the check of the settings failed")


def _check_loaded() -> None:
    """verl passes over a plugin that fails to load; and what it has not loaded here, workers lack.

    Raises:
        HookError: saying why.
    """
    importlib.import_module("verl")
    if _PLUGIN in sys.modules:
        return
    policy = os.environ.get(_POLICY, "auto")
    names = {name.strip() for name in policy.lower().split(",")}
    if not names & {"auto", "icpo"}:
        raise HookError(f"{_POLICY}: expected 'auto', or a list with 'icpo', got {policy!r}")
    try:
        importlib.import_module(_PLUGIN)
    except Exception as error:
        raise HookError(f"{_PLUGIN} can not be loaded: {type(error).__name__}: {error}") from error
    raise HookError(
        f"expected verl to have loaded {_PLUGIN} by its entry point in 'verl.plugins', but it has "
        "not; install icpo-rs in this environment"
    )
