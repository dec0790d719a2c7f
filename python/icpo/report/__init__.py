"""Runs as one HTML file: what they came to, what to look at, and where every number stands."""

from __future__ import annotations

from icpo.report.page import report

__all__ = ["report"]
