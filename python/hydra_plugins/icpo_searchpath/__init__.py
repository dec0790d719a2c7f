"""Lets Hydra find ``+icpo=on``, in any program that composes its configuration with Hydra."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class IcpoSearchPath(SearchPathPlugin):  # type: ignore[misc]  # hydra is not typed here
    """Adds the configuration groups of `icpo.verl`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Appends them, so that nothing of the program's own is hidden."""
        search_path.append(provider="icpo", path="pkg://icpo.verl.config")
