"""Networks that are not built like a ResNet, to be put together: nested residuals, pools, side branches, decoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(into: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=False)
    )


class Residual(nn.Module):
    """Whatever is inside, and a shortcut."""

    def __init__(self, inside: nn.Module, into: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.inside = inside
        self.shortcut = nn.Identity() if into == out and stride == 1 else nn.Conv2d(into, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.inside(x) + self.shortcut(x))


def block(into: int, out: int, stride: int = 1) -> Residual:
    return Residual(nn.Sequential(conv(into, out, 3, stride), nn.Conv2d(out, out, 3, 1, 1)), into, out, stride)


class GroupedBlock(nn.Module):
    """A bottleneck whose middle is a grouped convolution, and a shortcut."""

    def __init__(self, into: int, out: int, groups: int, stride: int = 1) -> None:
        super().__init__()
        self.reduce, self.expand = conv(into, out, 1), nn.Conv2d(out, out, 1)
        self.grouped = nn.Conv2d(out, out, 3, stride, 1, groups=groups)
        self.shortcut = nn.Identity() if into == out and stride == 1 else nn.Conv2d(into, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.expand(F.relu(self.grouped(self.reduce(x)))) + self.shortcut(x))


class Net(nn.Module):
    """A stem, a trunk and a classifier."""

    def __init__(self, trunk: nn.Module, into: int, out: int) -> None:
        super().__init__()
        self.stem, self.trunk, self.head = conv(3, into), trunk, nn.Linear(out, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(self.stem(x)).mean((2, 3)))


def nested(*widths: int) -> Net:
    """Shortcuts over blocks, over stages and over the whole trunk, all of one class."""
    stages = nn.Sequential()
    for into, out in zip((widths[0], *widths), widths, strict=False):
        stride = 1 if into == out else 2
        stages.append(Residual(nn.Sequential(block(into, out, stride), block(out, out)), into, out, stride))
    whole = Residual(stages, widths[0], widths[-1], 2 ** (len(widths) - 1))
    return Net(whole, widths[0], widths[-1])


class Dense(nn.Module):
    """Layers that see all before them, then a transition and a pool."""

    def __init__(self, into: int, growth: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conv(into + i * growth, growth) for i in range(3))
        self.transition, self.pool = conv(into + 3 * growth, out, 1), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, 1)))
        return self.pool(self.transition(torch.cat(maps, 1)))


class PooledBlock(nn.Module):
    """A residual that is pooled in its own module."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.block = block(into, out)
        self.scale = nn.Conv2d(out, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        return F.max_pool2d(x + self.scale(x), 2)


class Hourglass(nn.Module):
    """Layers at a lower resolution that weigh what the layers beside them make."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.beside = block(width, width)
        self.mask = nn.Sequential(nn.MaxPool2d(2), conv(width, inner), nn.MaxPool2d(2), conv(inner, inner))
        self.back = nn.Sequential(conv(inner, width), nn.Upsample(scale_factor=4))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.beside(x) * torch.sigmoid(self.back(self.mask(x)))


class Pyramid(nn.Module):
    """Attention one channel wide, and nothing beside it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, 1, 5, 2), conv(1, 1, 3, 2)
        self.third = conv(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.interpolate(self.third(self.second(self.first(x))), x.shape[2:])


class UNet(nn.Module):
    """An encoder, and a decoder that comes back."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(conv(into, out) for into, out in zip((3, *widths), widths, strict=False))
        self.up = nn.ModuleList(conv(a + b, a) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.image = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for number, layer in enumerate(self.down):
            x = layer(F.max_pool2d(x, 2) if number else x)
            skips.append(x)
        for layer in self.up:
            skips.pop()
            x = layer(torch.cat([skips[-1], F.interpolate(x, scale_factor=2.0)], 1))
        return self.image(x)


class Rise(nn.Module):
    """A step of a decoder: a module that joins what comes from below with a skip."""

    def __init__(self, skip: int, below: int) -> None:
        super().__init__()
        self.up, self.mix = nn.ConvTranspose2d(below, skip, 2, 2), conv(2 * skip, skip)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.mix(torch.cat([skip, self.up(x)], 1))


class PlainUNet(nn.Module):
    """An encoder of plain layers, and a decoder of modules."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        pairs = list(zip((3, *widths), widths, strict=False))
        self.down = nn.ModuleList(
            nn.Sequential(conv(into, out, 3, 1 + (number > 0)), conv(out, out))
            for number, (into, out) in enumerate(pairs)
        )
        self.up = nn.ModuleList(Rise(a, b) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.image = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            x = layer(x, skip)
        return self.image(x)


class Skip(nn.Module):
    """A level of a U-Net as one module around all that is deeper: goes down, comes up, and gates the skip."""

    def __init__(self, inside: nn.Module, width: int) -> None:
        super().__init__()
        self.inside, self.up = inside, nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.gate, self.mix = nn.Conv2d(width, 1, 1), nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        below = self.up(self.inside(x))
        return self.mix(torch.cat([x * torch.sigmoid(self.gate(x + below)), below], 1))


def nested_unet(*widths: int) -> nn.Module:
    """An attention U-Net, from the inside to the outside."""
    deepest: nn.Module = nn.Sequential(conv(widths[-2], widths[-1], 3, 2), conv(widths[-1], widths[-1]))
    for width, into in zip(widths[-2::-1], (*widths[-3::-1], 3), strict=True):
        stride = 1 if into == 3 else 2
        deepest = nn.Sequential(conv(into, width, 3, stride), conv(width, width), Skip(deepest, width))
    return nn.Sequential(deepest, nn.Conv2d(widths[0], 2, 1))


class AlongAxes(nn.Module):
    """Convolutions along channels, rows and columns, and their three results fused channel by channel."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.channels = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.rows = nn.Conv2d(size, size, 3, padding=1, groups=size)
        self.columns = nn.Conv2d(size, size, 3, padding=1, groups=size)
        self.fuse = nn.Conv2d(3 * width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.rows(x.permute(0, 2, 1, 3)).permute(0, 2, 1, 3)
        columns = self.columns(x.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
        stacked = torch.stack([self.channels(x), rows, columns], 2)
        return self.fuse(stacked.view(len(x), -1, *x.shape[2:]))


class Reduction(nn.Module):
    """Half of it convolved, half pooled."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolved = conv(width, width, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.convolved(x), F.max_pool2d(x, 3, 2, 1)], 1)


class Peephole(nn.Module):
    """Goes by a value that it computes: here one that is sure to change with the width."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Sequential(block(8, 8), block(8, 8)), block(8, 16, 2)
        self.stem, self.head = conv(3, 8), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.first(self.stem(x)))
        seen = int(torch.ones_like(x[0, :, 0, 0]).sum())
        x = x[:, :, :4, :4] if seen > 10 else x.flip(2)
        return self.head(x.mean((2, 3)))


def plain(*layers: nn.Module, into: int = 16, out: int = 64) -> Net:
    return Net(nn.Sequential(*layers), into, out)
