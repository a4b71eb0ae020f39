"""Small networks that are hard to write as code, each by one thing."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


def convolutions() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1)
    )


class Flattened(nn.Module):
    """`len`, `int` and `size` in a view."""

    def __init__(self) -> None:
        super().__init__()
        self.features = convolutions()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).view(len(x), 8, -1).mean(-1)
        x = x.view(int(x.shape[0]), -1)
        return self.head(x).view(x.size(0), 5)


class Normalised(nn.BatchNorm2d):
    """A batch norm of the user's own, with an activation."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class Dropped(nn.Module):
    """Dropout as a function, paths dropped in train mode, a batch norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = Normalised(8)
        self.again = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.norm(self.conv(x)), 0.3, self.training)
        y = self.again(x)
        if self.training:
            y = y * y.new_empty(y.shape[0], 1, 1, 1).bernoulli_(0.5)
        return self.head((x + y).mean((2, 3)))


class Shared(nn.Module):
    """One block in two places, tied weights, a block that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.first = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.parts = nn.ModuleList([self.first, nn.Conv2d(8, 8, 1, bias=False), nn.Conv2d(8, 8, 1, bias=False)])
        self.parts[2].weight = self.parts[1].weight
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for part in (self.first, *self.parts):
            x = x + part(x)
        return self.head(x.mean((2, 3)))


class Outer(nn.Module):
    """A module whose calls differ from each other, and one that is called with sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor, size: tuple[int, int], double: bool = False) -> Tensor:
        x = F.interpolate(self.conv(x), size=size, mode="nearest")
        return x * 2 if double else x


class Sized(nn.Module):
    """Sizes that one module reads and another uses."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.up = Outer()
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        small = self.down(x)
        x = self.up(small, (height // 2, width // 2)) + self.up(small, (height // 2, width // 2), double=True)
        return self.head(x)


class Keyed(nn.Module):
    """Two inputs, a dictionary as the output, lists of tensors, children with names that Python has not."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({"left": nn.Conv2d(3, 8, 1), "right": nn.Conv2d(3, 8, 1)})
        self.add_module("0", nn.Sequential(OrderedDict(mix=nn.Conv2d(16, 8, 1), act=nn.Hardtanh(-1.0, 2.0))))
        self.add_module("class", nn.Conv2d(8, 5, 1))

    def forward(self, x: Tensor, other: Tensor) -> dict[str, Any]:
        mixed = getattr(self, "0")(torch.cat([self.branches["left"](x), self.branches["right"](other)], 1))
        first, second = torch.chunk(mixed, 2, dim=1)
        return {"logits": getattr(self, "class")(mixed).mean((2, 3)), "maps": [first, (second, None)]}


class Constants(nn.Module):
    """Buffers that no state dict holds, large and small, tensors made on the way, writes in place, no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.register_buffer("blur", torch.tensor([1.0, 2.0, 1.0]).repeat(8, 1, 3, 1) / 12, persistent=False)
        self.register_buffer("mask", torch.rand(8, 1, 1) * 2, persistent=False)
        self.register_buffer("table", torch.randperm(64), persistent=False)
        self.shift = torch.full((1, 8, 1, 1), 0.25)
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(self.conv(x), self.blur, groups=8, padding=1) * self.mask + self.shift
        x[:, :2] = 0.5
        x += self.scale
        ramp = torch.arange(x.shape[-1], device=x.device, dtype=x.dtype)
        with torch.no_grad():
            level = (ramp - 1).mean() + self.table[:8].sum() * 0
        return self.head((2 - x.clamp_(max=level).mul(-1)).mean((2, 3)))


class Deciding(nn.Module):
    """Another way for inputs whose height is odd."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 2 != 0:
            x = x * 0
        return self.head(self.conv(x).mean((2, 3)))


class Padded(nn.Module):
    """Padding up to a multiple, worked out from the size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, (4 - width % 4) % 4, 0, -height % 4))
        return self.head(self.conv(x).flatten(2).mean(2))


class Fixed(nn.Module):
    """A linear layer behind a flattened map, and a number of positions in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(self.conv(x), 8).view(-1, 8 * 64) + 0 * x.reshape(-1, 3 * 1024)[:, :1])


class Computed(nn.Module):
    """Weights that are computed from others, and a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = weight_norm(nn.Conv2d(3, 8, 3, padding=1))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.conv(x), 8).flatten(2).transpose(1, 2)
        mixed, _ = self.attention(x, x, x, need_weights=False)
        return self.head((x + mixed).mean(1))


class Dense(nn.Module):
    """Layers that take a list which grows."""

    class Layer(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(width, 4, 3, padding=1)

        def forward(self, features: list[Tensor]) -> Tensor:
            return self.conv(torch.cat(features, 1))

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(self.Layer(3 + 4 * index) for index in range(4))
        self.head = nn.Linear(19, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return self.head(torch.cat(features, 1).mean((2, 3)))


STRANGE: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (Flattened, Dropped, Shared, Sized, Keyed, Constants, Deciding, Padded, Fixed, Computed, Dense)
}
