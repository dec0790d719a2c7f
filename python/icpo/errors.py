"""Exceptions. Each message names the argument, what was expected of it, and what came.

Every class derives from `IcpoError` and from the standard exception that it is a kind of, so
``except ValueError`` written before this package was installed still catches what it should.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "CudaError",
    "DTypeError",
    "DataError",
    "DeviceError",
    "IcpoError",
    "InternalError",
    "MissingArgumentError",
    "NonFiniteError",
    "ShapeError",
    "TokenIdError",
]


class IcpoError(Exception):
    """Base of all exceptions of this package."""


class ShapeError(IcpoError, ValueError):
    """An array has the wrong shape, length or memory layout."""


class DTypeError(IcpoError, TypeError):
    """An array has the wrong dtype, or is no array."""


class DeviceError(IcpoError, RuntimeError):
    """A tensor lies on the wrong device, or tensors lie on different ones."""


class CudaError(DeviceError):
    """The CUDA driver, its compiler or a kernel image is missing, too old, or refused a call."""


class NonFiniteError(IcpoError, ValueError):
    """A value is NaN or infinite where only numbers make sense."""


class TokenIdError(IcpoError, IndexError):
    """A token id lies outside the vocabulary."""


class ConfigError(IcpoError, ValueError):
    """A setting lies outside its range, or has a name that does not exist."""


class MissingArgumentError(IcpoError, TypeError):
    """An argument is missing that the configuration makes necessary."""


class DataError(IcpoError, ValueError):
    """A row of a file, or a prompt made of it, can not be used."""


class CheckpointError(IcpoError, RuntimeError):
    """A checkpoint can not be written, read, or continued from."""


class InternalError(IcpoError, RuntimeError):
    """A bug in this package."""
