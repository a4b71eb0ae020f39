"""Random resized crops, in memory and out of files, against torchvision's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional

from reconfig.harness.data.crops import RATIO, Box, crop, draw
from reconfig.harness.data.on_disk import cropped
from reconfig.harness.experiment import Data

AREA = (0.08, 1.0)


def crops(count: int, seed: int = 0, area: tuple[float, float] = AREA):  # type: ignore[no-untyped-def]
    return draw(count, area, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(32, 32), (500, 375), (40, 200)])
def test_crops_are_spread_as_torchvisions(size: tuple[int, int]) -> None:
    width, height = size
    drawn = crops(3000)
    ours = torch.tensor([drawn.box(row, width, height) for row in range(3000)], dtype=torch.float64)
    torch.manual_seed(0)
    image = torch.empty(3, height, width, dtype=torch.uint8)
    found = [RandomResizedCrop.get_params(image, list(AREA), list(RATIO)) for _ in range(3000)]
    theirs = torch.tensor([(left, top, wide, tall) for top, left, tall, wide in found], dtype=torch.float64)
    for column in range(4):
        error = 4 * math.hypot(*(values[:, column].std().item() for values in (ours, theirs))) / math.sqrt(3000)
        assert abs(ours[:, column].mean() - theirs[:, column].mean()) <= error
    assert (ours[:, 0] + ours[:, 2]).max() <= width
    assert (ours[:, 1] + ours[:, 3]).max() <= height
    assert ours.min() >= 0


def test_where_no_crop_fits_the_middle_is_taken() -> None:
    drawn = crops(1, area=(1.0, 1.0))
    assert drawn.box(0, 10, 100) == Box(0, 43, 10, 13)
    assert drawn.box(0, 100, 10) == Box(43, 0, 13, 10)


def test_crops_in_memory_are_torchvisions() -> None:
    images = torch.randint(0, 256, (20, 3, 24, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    drawn = crops(20)
    for row, found in enumerate(crop(images, drawn)):
        left, top, wide, tall = drawn.box(row, 30, 24)
        expected = functional.resized_crop(images[row].float(), top, left, tall, wide, [24, 30], antialias=False)
        assert (found.float() - expected).abs().max() <= 0.51


def test_crops_out_of_files_are_torchvisions(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    box = Box(11, 7, 50, 40)
    asked = []
    found = cropped(tmp_path / "image.png", 16, lambda *size: asked.append(size) or box)  # type: ignore[func-returns-value]
    expected = functional.resized_crop(Image.fromarray(pixels), 7, 11, 40, 50, [16, 16])
    assert np.array_equal(found, np.asarray(expected).transpose(2, 0, 1))
    assert asked == [(83, 61)]


def test_a_large_photograph_is_cropped_where_it_should_be(tmp_path: Path) -> None:
    across, down = np.meshgrid(np.arange(640), np.arange(480))
    pixels = np.stack([across * 255 / 639, down * 255 / 479, 0 * down], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.jpg", quality=98)
    box = Box(320, 120, 300, 240)  # which a JPEG is decoded for at a quarter of its size
    found = cropped(tmp_path / "image.jpg", 30, lambda *_: box).astype(float)
    assert abs(found[0].mean() - (320 + 150) * 255 / 639) < 2
    assert abs(found[1].mean() - (120 + 120) * 255 / 479) < 2
    assert abs(found[0, :, 0].mean() - (320 + 5) * 255 / 639) < 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"crop_area": (0.0, 1.0)},
            r"data\.crop_area is from a part to a part of the area, such as 0\.08 1, not 0\.0 1",
        ),
        ({"crop_area": (0.5, 0.2)}, r"not 0\.5 0\.2"),
        ({"crop_area": (0.5, 1.5)}, r"not 0\.5 1\.5"),
        ({"crop_area": AREA, "size": 32, "keep": "memory"}, r"in their files: leave out data\.keep memory"),
    ],
)
def test_crops_that_make_no_sense_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Data(**fields)  # type: ignore[arg-type]
