"""What networks take, measured on skeletons."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from reconfig.harness.experiment import Evaluate, Setting, Train
from reconfig.harness.jobs.footprint import kept, needed
from reconfig.harness.network import Network

SETTING = Setting(train=Train(batch=16), evaluate=Evaluate(batch=10))


def test_what_a_forward_keeps_is_counted_once() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1), nn.Sigmoid())
    floats = 3 * 100 + 8 * 100 + 4 * 100  # the images, what ReLU gave (and the convolution took), what the sigmoid gave
    assert kept(model, (3, 10, 10)) == 4 * floats


def test_the_largest_network_and_batch_count() -> None:
    small, large = Network("zoo:vgg11", gamma=0.1), Network("zoo:vgg11", "10-10-4", gamma=0.4)
    alone, both = (needed(networks, SETTING)(10, (3, 32, 32)) for networks in ([small], [small, large]))
    assert both > 4 * alone
    further = replace(SETTING, evaluate=Evaluate(batch=32))
    assert 1.5 * both < needed([large], further)(10, (3, 32, 32)) < 2 * both
