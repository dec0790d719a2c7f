"""Data sets: recognised, filtered, and written in the form that the trainers read."""

from icpo.data.schemas import SCHEMAS, Schema, recognise, recognise_rows

__all__ = ["SCHEMAS", "Schema", "recognise", "recognise_rows"]
