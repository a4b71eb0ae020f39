"""Feature maps that a model returns are kept and listed, or scaled; class scores and images stay without a word."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reconfig
from reconfig import FrozenError, FrozenKind, InputError


class Body(nn.Module):
    """Three stages with residuals; what becomes of the last map is up to a subclass."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 16, 32)
        self.down = nn.ModuleList(nn.Conv2d(i, o, 3, 2, 1) for i, o in zip((3, *widths), widths, strict=False))
        self.same = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for width in widths)
        self.make()

    def make(self) -> None:
        """Add layers."""

    def maps(self, x: Tensor) -> list[Tensor]:
        found = []
        for down, same in zip(self.down, self.same, strict=True):
            x = down(x).relu()
            x = (x + same(x)).relu()
            found.append(x)
        return found


class Maps(Body):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {str(number): found for number, found in enumerate(self.maps(x))}


class Vector(Body):
    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x)[-1].mean((2, 3))


class Plain(nn.Module):
    """A VGG without its head: the last map is read by nothing, yet it is no image."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Both(Body):
    def make(self) -> None:
        self.fc = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        last = self.maps(x)[-1]
        return self.fc(last.mean((2, 3))), last


class Scores(Both):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0]


class Image(Body):
    def make(self) -> None:
        self.last = nn.Conv2d(32, 12 * 16, 3, 1, 1)
        self.shuffle = nn.PixelShuffle(8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.shuffle(self.last(self.maps(x)[-1]))) + x


class Classes(Body):
    """A map of classes at the image's size."""

    def make(self) -> None:
        self.last = nn.Conv2d(32, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(self.last(self.maps(x)[-1]), x.shape[2:]).softmax(1)


class Pooled(Body):
    """Maps of classes, pooled to scores, as SqueezeNet has them."""

    def make(self) -> None:
        self.last = nn.Conv2d(32, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(self.last(self.maps(x)[-1]).relu(), 1).flatten(1)


class Reused(Body):
    """The last layer's channels are returned and read again: no image, a map."""

    def make(self) -> None:
        self.last, self.fc = nn.Conv2d(32, 24, 1), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.last(self.maps(x)[-1])
        return found, self.fc(found.mean((2, 3)))


def plan(model: nn.Module, **options: Any) -> reconfig.Plan:
    return reconfig.plan(model, "10-10", gamma=2, example_input=torch.zeros(1, 3, 32, 32), **options)


def given(model: nn.Module) -> list[int]:
    result = model(torch.zeros(2, 3, 32, 32))
    tensors = result.values() if isinstance(result, dict) else result if isinstance(result, tuple) else [result]
    return [tensor.shape[1] for tensor in tensors]


@pytest.mark.parametrize(
    ("network", "own", "scaled"),
    [
        (Maps, [8, 16, 32], [16, 32, 64]),
        (Vector, [32], [64]),
        (Plain, [16], [32]),
        (Both, [10, 32], [10, 64]),
        (Reused, [24, 10], [48, 10]),
    ],
)
def test_feature_maps_are_listed_or_scaled(network: type[nn.Module], own: list[int], scaled: list[int]) -> None:
    model = network()
    kept = plan(model)
    assert {item.kind for item in kept.frozen} == {FrozenKind.OUTPUT}
    assert {item.width for item in kept.frozen} == {size for size in own if size != 10}
    assert "a feature map that the model returns; pass outputs='scale' to scale it" in str(kept)
    assert given(kept.apply(model)) == own
    with pytest.raises(FrozenError, match="a feature map that the model returns; pass outputs='scale' to scale it, or"):
        plan(model, strict=True)
    assert given(plan(model, outputs="scale", strict=True).apply(model)) == scaled


@pytest.mark.parametrize(("network", "channels"), [(Scores, 10), (Image, 3), (Classes, 5), (Pooled, 5)])
@pytest.mark.parametrize("outputs", ["keep", "scale"])
def test_what_is_made_for_the_user_stays(network: type[nn.Module], channels: int, outputs: str) -> None:
    model = network()
    assert given(plan(model, strict=True, outputs=outputs).apply(model)) == [channels]


def test_a_rule_that_leaves_a_map_alone_lists_nothing() -> None:
    found = reconfig.plan(Maps(), "10-10-4", example_input=torch.zeros(1, 3, 32, 32))
    assert [(item.stage, item.width) for item in found.frozen] == [(3, 32)]


def test_another_word_is_refused() -> None:
    with pytest.raises(InputError, match=r"outputs is 'all', and must be 'keep'.*write outputs='scale'"):
        plan(Maps(), outputs="all")
