"""Products added to float32: each kind of torch gets the best way that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from icpo.ops import products


@pytest.fixture(autouse=True)
def _ways_are_found_anew() -> Iterator[None]:
    products._best_way.cache_clear()
    yield
    products._best_way.cache_clear()


def _mm(a: Tensor, b: Tensor, *, out_dtype: torch.dtype) -> Tensor:
    return a.to(out_dtype) @ b.to(out_dtype)


def _addmm(total: Tensor, a: Tensor, b: Tensor, *, out_dtype: torch.dtype, out: Tensor) -> Tensor:
    return out.copy_(total + _mm(a, b, out_dtype=out_dtype))


def _strict(total: Tensor, a: Tensor, b: Tensor, *, out_dtype: torch.dtype, out: Tensor) -> Tensor:
    if total.dtype != a.dtype:
        raise RuntimeError("self and mat2 must have the same dtype")
    return _addmm(total, a, b, out_dtype=out_dtype, out=out)


def _old(*matrices: Tensor) -> Tensor:
    raise AssertionError("unreachable: the call has a keyword that is not known")


@pytest.mark.parametrize(
    ("addmm", "mm", "way"),
    [
        (_addmm, _mm, products._at_once),
        (_strict, _mm, products._product_first),
        (_old, _old, products._widened),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_each_torch_adds_in_float32(
    monkeypatch: pytest.MonkeyPatch,
    addmm: Callable[..., Tensor],
    mm: Callable[..., Tensor],
    way: Callable[..., None],
    dtype: torch.dtype,
) -> None:
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(37, 5, generator=generator).to(dtype)
    b = torch.randn(37, 7, generator=generator).to(dtype)
    total = torch.randn(5, 7, generator=generator)
    expected = total.double() + a.double().T @ b.double()
    monkeypatch.setattr(torch, "addmm", addmm)
    monkeypatch.setattr(torch, "mm", mm)
    assert products._best_way(a.device) is way
    products.add_product(total, a, b)
    assert (total.double() - expected).abs().max() < 1e-5
