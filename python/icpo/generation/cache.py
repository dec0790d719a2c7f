"""Keys and values of a batch of which rows leave, in memory taken ahead of need.

transformers' own caches either copy everything at each token (`DynamicCache`) or attend to their
whole capacity (`StaticCache`). This one writes into spare room and shows the model the filled part.
It relies on what `transformers.Cache` asks of its layers, from version 4.56 to 5.10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

__all__ = ["RowCache", "Vacancies"]


@dataclass(frozen=True)
class Vacancies:
    """How the rows of a batch close up when some leave: those from behind fill the holes.

    So no more is moved than has to be, and nothing is allocated.
    """

    #: Rows that leave, among the first `left`.
    holes: Tensor
    #: Rows that stay, behind the first `left`; as many.
    fillers: Tensor
    #: Rows that stay.
    left: int

    def close(self, rows: Tensor) -> Tensor:
        """The rows that stay, moved in place."""
        rows[self.holes] = rows[self.fillers]
        return rows[: self.left]


class _Layer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer, (B, heads, capacity, width) each."""

    is_sliding = False
    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, *states: Tensor) -> None:
        """Nothing: the first update brings the memory."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Adds keys and values of (B, heads, T, width); all that there are now."""
        start, self.length = self.length, self.length + key_states.shape[2]
        if start == 0:
            self.keys, self.values, self.is_initialized = key_states, value_states, True
            return key_states, value_states
        keys, values = self.keys[:, :, : self.length], self.values[:, :, : self.length]
        keys[:, :, start:] = key_states
        values[:, :, start:] = value_states
        return keys, values

    def get_seq_length(self, *_: Any) -> int:
        """Tokens held."""
        return self.length

    def get_mask_sizes(self, query: int | Tensor) -> tuple[int, int]:
        """Keys that a mask for new tokens spans, and where they begin.

        `query` is their number in transformers 5, their positions in 4.
        """
        new = query if isinstance(query, int) else query.shape[0]
        return self.length + new, 0

    def get_max_cache_shape(self) -> int:
        """No limit."""
        return -1


class RowCache(Cache):  # type: ignore[misc]
    """The layers' keys and values."""

    def __init__(self, layers: int) -> None:
        """An empty cache, which takes over the keys and values of the first forward pass."""
        self._layers = [_Layer() for _ in range(layers)]
        super().__init__(layers=list(self._layers))

    @property
    def length(self) -> int:
        """Tokens held, padding among them."""
        return int(self._layers[0].length)

    @property
    def capacity(self) -> int:
        """Tokens for which there is room."""
        return int(self._layers[0].keys.shape[2])

    def blank(self, rows: int, length: int, capacity: int) -> RowCache:
        """A cache for the same model, with room for `capacity` tokens, in which `place` has to set
        `length` of them.
        """
        made = RowCache(len(self._layers))
        for layer, like in zip(made._layers, self._layers, strict=True):
            layer.keys, layer.values = (
                states.new_empty((rows, states.shape[1], capacity, states.shape[3]))
                for states in (like.keys, like.values)
            )
            layer.length, layer.is_initialized = length, True
        return made

    def place(self, source: RowCache, rows: slice, origin: Tensor) -> None:
        """Copies row ``origin[i]`` of `source` to the i-th of `rows`, flush right."""
        for layer, given in zip(self._layers, source._layers, strict=True):
            start = layer.length - given.length
            for mine, its in ((layer.keys, given.keys), (layer.values, given.values)):
                # Zeros in front: that is masked, but 0 times NaN would be NaN.
                mine[rows, :, :start] = 0
                mine[rows, :, start : layer.length] = its[origin]

    def reserve(self, capacity: int) -> None:
        """Makes room, layer by layer, so that one layer at most is held twice."""
        for layer in self._layers:
            layer.keys = _grown(layer.keys, layer.length, capacity)
            layer.values = _grown(layer.values, layer.length, capacity)

    def close(self, vacancies: Vacancies) -> None:
        """Keeps the rows that stay."""
        for layer in self._layers:
            # Only the filled part is worth moving.
            for states in (layer.keys, layer.values):
                vacancies.close(states[:, :, : layer.length])
            layer.keys = layer.keys[: vacancies.left]
            layer.values = layer.values[: vacancies.left]


def _grown(states: Tensor, length: int, capacity: int) -> Tensor:
    rows, heads, _, width = states.shape
    grown = states.new_empty((rows, heads, capacity, width))
    grown[:, :, :length] = states[:, :, :length]
    return grown
