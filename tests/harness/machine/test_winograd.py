"""Convolutions by tiles are convolutions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from reconfig.harness.machine import winograd

PLAIN: dict[str, Any] = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("biased", [False, True])
def test_it_and_its_gradient_are_the_convolutions(
    layout: torch.memory_format, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "_AT_ONCE", 2 * 5 * 8 * 12)  # in two parts and a rest
    torch.manual_seed(0)
    images = torch.randn(5, 5, 8, 12).contiguous(memory_format=layout).requires_grad_()
    weight, bias = torch.randn(7, 5, 3, 3), torch.randn(7) if biased else None
    found = winograd.convolve(images, winograd.kernel(weight), bias)
    expected = F.conv2d(images.double(), weight.double(), None if bias is None else bias.double(), padding=1)
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)
    going = torch.randn_like(found)
    (gradient,) = torch.autograd.grad(found, images, going)
    (wanted,) = torch.autograd.grad(expected, images, going.double())
    torch.testing.assert_close(gradient, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("shape", "kernel", "how"),
    [
        ((1, 128, 8, 8), (128, 128, 3, 3), {"stride": (2, 2)}),
        ((1, 128, 8, 8), (128, 128, 3, 3), {"padding": 0}),
        ((1, 128, 8, 8), (128, 128, 3, 3), {"padding": "same"}),
        ((1, 128, 8, 8), (128, 128, 3, 3), {"dilation": 2}),
        ((1, 256, 8, 8), (256, 128, 3, 3), {"groups": 2}),
        ((1, 128, 8, 8), (128, 128, 1, 1), {}),
        ((1, 128, 8, 6), (128, 128, 3, 3), {}),
        ((1, 32, 8, 8), (128, 32, 3, 3), {}),
    ],
)
def test_no_other_convolution_suits(shape: tuple[int, ...], kernel: tuple[int, ...], how: dict[str, Any]) -> None:
    images = torch.zeros(1, 128, 8, 8)
    assert winograd.suits(images, torch.zeros(128, 128, 3, 3), **PLAIN)
    assert winograd.suits(images, torch.zeros(128, 128, 3, 3), **PLAIN | {"padding": (1,), "stride": [1, 1]})
    assert not winograd.suits(torch.zeros(shape), torch.zeros(kernel), **PLAIN | how)
    assert not winograd.suits(images.double(), torch.zeros(128, 128, 3, 3).double(), **PLAIN)
    with torch.autocast("cpu", torch.bfloat16):
        assert not winograd.suits(images, torch.zeros(128, 128, 3, 3), **PLAIN)
