"""The same entries in another shape or order: each network halved, and checked from outside (see ``calls``)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from calls import Cases, Net, Shapes, check_call
from torch import Tensor, nn

CASES = Cases()


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (20, 8 * 16), "head.weight": (5, 20)})
class ViewByBatch(Net):
    def make(self) -> None:
        self.a, self.head = nn.Linear(16 * 16, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.front(x), 2)
        return self.head(self.a(x.view(x.size(0), -1)))


@CASES.case({"front.weight": (8, 3, 3, 3), "head.weight": (5, 8)})
class TypeOfALargerTensor(Net):
    """As detectors make their grids: a tensor that gives its type alone."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        grid = torch.arange(x.shape[-1], device=x.device)
        return self.logits(x * grid.type_as(x) + grid.to(x))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (20, 8 * 16)})
class ViewByShapes(Net):
    def make(self) -> None:
        self.a, self.head = nn.Linear(16 * 16, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.front(x), 2)
        n, c, h, w = x.shape
        return self.head(self.a(x.reshape(n, c * h * w)))


@CASES.case(
    {"front.weight": (16, 3, 3, 3), "a.weight": (20, 256)},
    frozen="the number 256 written in the code: Tensor.view at test_shapes.py:",
)
class ViewByLiteral(Net):
    def make(self) -> None:
        self.a, self.head = nn.Linear(16 * 16, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.front(x), 2)
        return self.head(self.a(x.view(-1, 256)))


@CASES.case({"front.weight": (16, 3, 3, 3)}, frozen="written in the code: Tensor.view at test_shapes.py:")
class ViewByLiteralDims(Net):
    def make(self) -> None:
        self.a, self.head = nn.Linear(16 * 16, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.front(x), 2)
        return self.head(self.a(x.view(-1, 16 * 4 * 4)))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (20, 128)})
class ViewByAttribute(Net):
    """A number that the class keeps for itself follows."""

    def make(self) -> None:
        self.fc_size = 256
        self.a, self.head = nn.Linear(self.fc_size, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.front(x), 2)
        return self.head(self.a(x.view(-1, self.fc_size)))


@CASES.case({"front.weight": (8, 3, 3, 3), "head.weight": (5, 8)})
class ViewByWidthAttribute(Net):
    def make(self) -> None:
        self.planes = 16

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(self.front(x), 1).view(-1, self.planes))


@CASES.case({"front.weight": (8, 3, 3, 3), "flat.1.weight": (20, 512)})
class FlattenModule(Net):
    def make(self) -> None:
        self.flat = nn.Sequential(nn.Flatten(), nn.Linear(16 * 64, 40), nn.ReLU(), nn.Linear(40, 5))
        del self.head

    def forward(self, x: Tensor) -> Tensor:
        return self.flat(self.front(x))


@CASES.case({"front.weight": (8, 3, 3, 3), "b.weight": (8, 8, 3, 3)})
class UnflattenModule(Net):
    def make(self) -> None:
        self.flat, self.up, self.b = nn.Flatten(), nn.Unflatten(1, (16, 8, 8)), nn.Conv2d(16, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(self.up(self.flat(self.front(x)))))


@CASES.case(
    {"front.weight": (8, 3, 3, 3), "a.weight": (256, 8), "b.weight": (8, 16, 3, 3)}, frozen="at test_shapes.py:"
)
class ChannelsFromALinear(Net):
    """A linear map makes a feature map: which of the new dimensions is to scale cannot be known."""

    def make(self) -> None:
        self.a, self.b = nn.Linear(16, 256), nn.Conv2d(16, 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(self.front(x).mean((2, 3)))
        return self.logits(self.b(y.view(y.size(0), -1, 4, 4)))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 4, 1, 1)})
class ChannelShuffle(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.front(x))
        n, c, h, w = x.size()
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        return self.logits(self.a(x))


@CASES.case(
    {"front.weight": (8, 3, 3, 3), "a.weight": (8, 2, 1, 1)},
)
class ChannelShuffleModule(Net):
    def make(self) -> None:
        self.a, self.shuffle = nn.Conv2d(16, 16, 1, groups=4), nn.ChannelShuffle(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.a(self.shuffle(self.a(self.front(x)))))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (4, 2, 1, 1), "b.weight": (8, 16, 1, 1)})
class PixelShuffle(Net):
    def make(self) -> None:
        self.up, self.a = nn.PixelShuffle(2), nn.Conv2d(4, 8, 1)
        self.down, self.b = nn.PixelUnshuffle(2), nn.Conv2d(32, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.b(self.down(self.a(self.up(self.front(x))))))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 32, 1, 1)})
class SpaceToDepthByHand(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(64, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, c * 4, h // 2, w // 2)
        return self.logits(self.a(x))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 32, 1, 1)})
class FocusByStrides(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(64, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        corners = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
        return self.logits(self.a(torch.cat(corners, dim=1)))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8)})
class Permutations(Net):
    def make(self) -> None:
        self.a = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = self.a(torch.movedim(x, 1, -1)).moveaxis(-1, 1)
        z = self.a(x.flatten(2).transpose(-1, -2)).mT.unflatten(2, (8, 8))
        return self.logits(y + z + x.permute([0, 1, 3, 2]).swapaxes(2, 3))


@CASES.case({"front.weight": (8, 3, 3, 3), "scale": (8,)})
class Broadcasts(Net):
    def make(self) -> None:
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        y = x * self.scale.view(1, -1, 1, 1) + self.scale.reshape(-1, 1, 1)
        y = y + self.scale[None, :, None, None].expand_as(x) + self.scale.unsqueeze(-1).unsqueeze(-1)
        return self.logits(y)


@CASES.case(
    {"front.weight": (8, 3, 3, 3)},
)
class ExpandedToTheChannels(Net):
    """Spatial attention, stretched to the channels by a number taken from the shape."""

    def make(self) -> None:
        self.a = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        gate = torch.sigmoid(self.a(x))
        return self.logits(x * gate.expand(-1, x.size(1), -1, -1))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 16, 1, 1), "b.weight": (8, 24, 1, 1)})
class Repeats(Net):
    def make(self) -> None:
        self.a, self.b = nn.Conv2d(32, 16, 1), nn.Conv2d(48, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.front(x).repeat(1, 2, 1, 1))
        return self.logits(self.b(torch.tile(x, (1, 3, 1, 1))))


@CASES.case({"front.weight": (8, 3, 3, 3), "a.weight": (8, 8, 1, 1)})
class GateRepeated(Net):
    def make(self) -> None:
        self.a = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        gate = self.a(x.mean((2, 3), keepdim=True))
        return self.logits(x * gate.repeat(1, 1, x.shape[2], x.shape[3]))


@pytest.mark.parametrize(("network", "after", "frozen", "input_of"), CASES.params)
def test_call(network: Callable[[], nn.Module], after: Shapes, frozen: str | None, input_of: dict[str, int]) -> None:
    check_call(network, after, frozen, input_of)
