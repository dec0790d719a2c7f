"""Hydra's configuration groups: ``icpo/on.yaml`` is what ``+icpo=on`` asks for."""
