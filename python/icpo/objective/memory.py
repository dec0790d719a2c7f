"""numpy arrays as the core sees them: without a copy where the memory allows it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icpo._core import TensorView
from icpo.errors import DTypeError, NonFiniteError, ShapeError

__all__ = ["as_array", "as_bools", "as_floats", "as_integers", "view"]

Array = NDArray[Any]


def view(array: Array) -> TensorView:
    """The memory of an array."""
    size = array.itemsize
    if not array.dtype.isnative or any(stride % size for stride in array.strides):
        raise DTypeError(
            "expected an array in native byte order with whole elements between its elements, got "
            f"dtype {array.dtype.str} and strides {array.strides}; copy it first"
        )
    return TensorView(
        array.__array_interface__["data"][0],
        array.shape,
        tuple(stride // size for stride in array.strides),
        array.dtype.name,
        array.flags.writeable,
        array,
    )


def as_array(argument: str, values: ArrayLike) -> Array:
    """Anything that numpy takes as an array of numbers."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"{argument}: expected an array, got {type(values).__name__}") from error
    # ml_dtypes.bfloat16 has kind V, and a name.
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise DTypeError(f"{argument}: expected an array of numbers, got dtype {array.dtype}")
    return array


def as_floats(argument: str, values: ArrayLike, dtype: type[np.floating]) -> Array:
    """A contiguous array of floats."""
    return np.ascontiguousarray(as_array(argument, values), dtype=dtype)


def as_integers(argument: str, values: ArrayLike) -> NDArray[np.int64]:
    """A contiguous array of int64, from any integers."""
    array = as_array(argument, values)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{argument}: expected integers, got dtype {array.dtype}")
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise DTypeError(f"{argument}: expected numbers that fit int64, got {array.max()}")
    return np.ascontiguousarray(array, dtype=np.int64)


def as_bools(argument: str, values: ArrayLike) -> NDArray[np.bool_]:
    """A contiguous array of booleans, from booleans or from zeros and ones."""
    array = as_array(argument, values)
    if array.dtype != np.bool_:
        odd = (array != 0) & (array != 1)
        if odd.any():
            place = tuple(int(i) for i in np.argwhere(odd)[0])
            raise NonFiniteError(
                f"{argument}{list(place)}: expected True or False (or 1 or 0), got {array[place]}"
            )
    return np.ascontiguousarray(array, dtype=np.bool_)


def check_length(argument: str, array: Array, length: int, unit: str) -> None:
    """Checks a one-dimensional array."""
    if array.shape != (length,):
        raise ShapeError(
            f"{argument}: expected shape ({length},), one value for each of the {unit}, got "
            f"{array.shape}"
        )
