"""Maps that are larger than the input are stages like any other, in the order in which they are made."""

from __future__ import annotations

import pytest
import torch
from graphs import check
from torch import Tensor, nn

import reconfig


class SuperResolution(nn.Module):
    """Twice the input's size by pixels made of channels, then four times."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, width, 3, padding=1)
        self.twice = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.sharpen = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.four_times = nn.Conv2d(2 * width, 4 * width, 3, padding=1)
        self.finish = nn.Conv2d(width, width, 3, padding=1)
        self.image = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shuffle(self.twice(self.entry(x).relu())).relu()
        x = self.shuffle(self.four_times(self.sharpen(x).relu())).relu()
        return self.image(self.finish(x).relu())


class Generator(nn.Module):
    """A latent vector that becomes an image, as in a DCGAN."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.start = nn.ConvTranspose2d(10, 4 * width, 4)
        self.middle = nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1)
        self.fine = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
        self.image = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        return self.image(self.fine(self.middle(self.start(z).relu()).relu()).relu()).tanh()


def test_a_super_resolution_network_has_stages_beyond_its_input() -> None:
    found = reconfig.stages(SuperResolution(), torch.zeros(1, 3, 16, 16))
    assert [(stage.scale, stage.reduction, stage.resolution, stage.layers) for stage in found] == [
        ("1/1", 1, (16, 16), ("entry", "twice")),
        ("2", 0.5, (32, 32), ("sharpen", "four_times")),
        ("4", 0.25, (64, 64), ("finish", "image")),
    ]
    assert (found.stem, found.head) == ((), ())


def test_its_last_stage_is_narrowed_and_its_image_is_not() -> None:
    plan, result = check(SuperResolution(), torch.randn(2, 3, 16, 16), "10-10-5")
    shapes = {name: tuple(p.shape) for name, p in result.named_parameters() if name.endswith("weight")}
    assert shapes["four_times.weight"] == (32, 16, 3, 3)  # its channels become pixels, so they stay a multiple of 4
    assert shapes["finish.weight"] == (4, 8, 3, 3)
    assert shapes["image.weight"] == (3, 4, 3, 3)
    assert not plan.frozen


def test_the_stages_of_a_generator_grow() -> None:
    found = reconfig.stages(Generator(), torch.zeros(1, 10, 1, 1))
    assert [(stage.scale, stage.resolution, stage.layers) for stage in found] == [
        ("4", (4, 4), ("start",)),
        ("8", (8, 8), ("middle",)),
        ("16", (16, 16), ("fine", "image")),
    ]
    _, result = check(Generator(), torch.randn(2, 10, 1, 1), "10-10-5", gamma=2)
    assert [tuple(p.shape[:2]) for p in result.parameters() if p.dim() > 1] == [(10, 64), (64, 32), (32, 8), (3, 8)]


@pytest.mark.parametrize(("stage", "index"), [("1/1", 0), ("2", 1), ("4", 2)])
def test_the_table_says_how_large_a_stage_is(stage: str, index: int) -> None:
    lines = str(reconfig.stages(SuperResolution(), torch.zeros(1, 3, 16, 16))).splitlines()
    assert lines[2 + index].split()[:2] == [str(index + 1), stage]
