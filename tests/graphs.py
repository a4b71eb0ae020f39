"""Random small convolutional networks in the ways people write them, and how a result is checked from outside."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.nn import FlopCountAnalysis, parameter_count
from torch import Tensor, nn

import reconfig

# -- checks ------------------------------------------------------------------------------------------------------------


def check(model: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> tuple[reconfig.Plan, nn.Module]:
    """Plan and apply, then hold everything that a result promises against torch and fvcore alone."""
    state, modes, rng = _state(model), _modes(model), _rng()
    plan = reconfig.plan(model, *args, example_input=x, **kwargs)
    result = plan.apply(model)
    assert _same(_state(model), state), "the caller's tensors changed"
    assert _modes(model) == modes, "the caller's modes changed"
    assert _same(_rng(), rng), "a random state changed"
    assert reconfig.Plan.from_json(plan.to_json()) == plan
    assert type(result) is type(model)
    assert {name: tuple(tensor.shape) for name, tensor in result.state_dict().items()} == {
        name: shape for name, shape in plan.after.items() if name in result.state_dict()
    } | {name: tuple(result.state_dict()[name].shape) for name in result.state_dict().keys() - plan.after.keys()}
    check_runs(model, result, x)
    check_counts(plan.params, plan.flops, result, x)
    return plan, result


def check_runs(model: nn.Module, result: nn.Module, x: Tensor) -> None:
    """The result computes finite logits of the same shape, trains, and every parameter that had a gradient has one."""
    model = copy.deepcopy(model)
    for net in (model.eval(), result.eval()):
        net(x)
    assert [t.shape for t in tensors(result(x))] == [t.shape for t in tensors(model(x))]
    assert all(bool(t.isfinite().all()) for t in tensors(result(x)))
    learned: list[set[str]] = []
    for net in (model.train(), result.train()):
        torch.stack([t.square().sum() for t in tensors(net(x))]).sum().backward()
        learned.append({name for name, p in net.named_parameters() if p.grad is not None})
        net.zero_grad(set_to_none=True)
    assert learned[0] <= {name for name, _ in model.named_parameters()}
    assert learned[0] & {name for name, _ in result.named_parameters()} <= learned[1]


def check_counts(params: int, flops: int, model: nn.Module, x: Tensor) -> None:
    counted = sum(p.numel() for p in model.parameters()), parameter_count(model)[""], flop_count(model, x)
    assert (params, params, flops) == counted, f"planned {params:,} parameters, {flops:,} flops; counted {counted}"


def flop_count(model: nn.Module, x: Tensor) -> int:
    """Multiply-adds of one example, as fvcore counts them on a run in eval mode."""
    training = model.training
    analysis = FlopCountAnalysis(model.eval(), x[:1])
    analysis.set_op_handle("aten::_convolution_mode", _same_padding)  # fvcore leaves padding="same" out
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    total = int(analysis.total())
    model.train(training)
    return total


def _same_padding(inputs: list[Any], outputs: list[Any]) -> int:
    weight, out = inputs[1].type().sizes(), outputs[0].type().sizes()
    return out[0] * math.prod(out[2:]) * math.prod(weight)


def tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from tensors(tuple(output.values()))
    elif isinstance(output, tuple | list):
        for item in output:
            yield from tensors(item)


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def _modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def _rng() -> dict[str, Tensor]:
    numpy = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(numpy[1], dtype=np.int64)),
        "numpy position": torch.tensor(numpy[2]),
        "python": torch.tensor(hash(random.getstate())),
    }


def _same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


# -- pieces: (channels in, channels out, stride) -> module -------------------------------------------------------------


def conv(inp: int, out: int, kernel: int = 3, stride: int = 1, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inp, out, kernel, stride, kernel // 2, bias=False, **options)


class Plain(nn.Sequential):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__(conv(inp, out, 3, stride), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class Residual(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(inp, out, 3, stride), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = conv(out, out), nn.BatchNorm2d(out)
        same = inp == out and stride == 1
        self.downsample = None if same else nn.Sequential(conv(inp, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y)


class PreActivation(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.equal = inp == out and stride == 1
        self.bn1, self.conv1 = nn.BatchNorm2d(inp), conv(inp, out, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(out), conv(out, out)
        self.shortcut = None if self.equal else conv(inp, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        short = x if self.equal else self.shortcut(y)  # type: ignore[misc]
        return torch.add(short, self.conv2(F.relu(self.bn2(self.conv1(y)))))


class GroupedBottleneck(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        inner = max(4, out // 8 * 4)
        self.body = nn.Sequential(
            *(conv(inp, inner, 1), nn.GroupNorm(2, inner), nn.ReLU()),
            *(conv(inner, inner, 3, stride, groups=4), nn.GroupNorm(2, inner), nn.ReLU(), conv(inner, out, 1)),
        )
        self.short = conv(inp, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.short(x)


class Inception(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.a = conv(inp, out // 4, 1, stride)
        self.b = nn.Sequential(conv(inp, 6, 1), nn.ReLU(), conv(6, out // 2, 3, stride))
        self.c = nn.Sequential(nn.MaxPool2d(3, stride, 1), conv(inp, out - out // 4 - out // 2, 1))
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.cat([self.a(x), self.b(x), self.c(x)], dim=1)).relu()


class Dense(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(inp + 6 * i), nn.ReLU(), conv(inp + 6 * i, 6)) for i in range(2)
        )
        self.out = nn.Sequential(conv(inp + 12, out, 1), nn.AvgPool2d(2) if stride == 2 else nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return self.out(torch.cat(features, 1))


class Separable(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.depthwise, self.pointwise = conv(inp, inp, 3, stride, groups=inp), nn.Conv2d(inp, out, 1)
        self.norm = nn.InstanceNorm2d(out, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.pointwise(self.depthwise(x))), 0.1)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, 4), nn.ReLU(), nn.Linear(4, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        n, c, _, _ = x.size()
        return x * self.fc(F.adaptive_avg_pool2d(x, 1).view(n, c)).view(n, c, 1, 1)


class InvertedResidual(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        hidden = 2 * inp
        self.use_residual = inp == out and stride == 1
        self.conv = nn.Sequential(
            *(conv(inp, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)),
            *(conv(hidden, hidden, 3, stride, groups=hidden), nn.BatchNorm2d(hidden), nn.SiLU()),
            *(SqueezeExcite(hidden), conv(hidden, out, 1), nn.BatchNorm2d(out)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_residual else self.conv(x)


class Shuffle(nn.Module):
    """Half goes through, half is convolved, and the two are shuffled (ShuffleNetV2)."""

    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.enter = nn.Identity() if inp == out and stride == 1 else conv(inp, out, 1, stride)
        half = out // 2
        self.branch = nn.Sequential(conv(half, half, 1), conv(half, half, groups=half), nn.ReLU(), conv(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.enter(x).chunk(2, dim=1)
        x = torch.cat((left, self.branch(right)), dim=1)
        n, c, h, w = x.data.size()
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


class Partial(nn.Module):
    """A part of the channels is convolved; its number is an attribute."""

    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.part, self.rest = inp // 4, inp - inp // 4
        self.spatial, self.mix = conv(self.part, self.part), conv(inp, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(x, [self.part, self.rest], dim=1)
        return F.gelu(self.mix(torch.cat([self.spatial(a), b], 1)))


class Literal(nn.Module):
    """The same with the number written down."""

    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.spatial, self.mix = conv(2, 2), conv(inp, out, 3, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.cat([self.spatial(x[:, :2]), x[:, 2:]], 1))


class ChannelsLast(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.down = nn.Identity() if inp == out and stride == 1 else nn.Conv2d(inp, out, stride, stride)
        self.dw, self.norm = nn.Conv2d(out, out, 3, padding=1, groups=out), nn.LayerNorm(out)
        self.up, self.project = nn.Linear(out, 2 * out), nn.Linear(2 * out, out)
        self.gamma = nn.Parameter(0.1 * torch.ones(out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        y = self.project(F.gelu(self.up(self.norm(self.dw(x).permute(0, 2, 3, 1)))))
        return x + (self.gamma * y).permute(0, 3, 1, 2)


class Standardised(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight, self.gain = nn.Parameter(torch.randn(out, inp, 3, 3)), nn.Parameter(torch.ones(out, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        std, mean = torch.std_mean(self.weight, dim=[1, 2, 3], keepdim=True)
        return F.elu(F.conv2d(x, self.gain * (self.weight - mean) / (std + 1e-5), stride=self.stride, padding=1))


class Attention(nn.Module):
    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.enter, self.heads = conv(inp, out, 3, stride), 2
        self.qkv, self.project = nn.Linear(out, 3 * out), nn.Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(n, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        tokens = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        return x + self.project(tokens.transpose(1, 2).reshape(n, h * w, c)).transpose(1, 2).reshape(n, c, h, w)


class ZeroPadded(nn.Module):
    """The shortcut without parameters: strided, and padded to the channels of the branch."""

    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.conv = stride, conv(inp, max(inp, out), 3, stride)
        self.out = nn.Identity() if out >= inp else conv(inp, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        short = x[:, :, :: self.stride, :: self.stride]
        return self.out(F.relu(y + F.pad(short, (0, 0, 0, 0, 0, y.shape[1] - short.shape[1]))))


class DualPath(nn.Module):
    """A residual part and a growing part at once, by slices (DPN)."""

    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.keep = out // 2
        self.short = conv(inp, out, 1, stride)
        self.body = nn.Sequential(conv(inp, 8, 1), nn.ReLU(), conv(8, 8, 3, stride, groups=2), conv(8, out, 1))
        self.mix = conv(self.keep + 2 * (out - self.keep), out, 1)

    def forward(self, x: Tensor) -> Tensor:
        s, y = self.short(x), self.body(x)
        residual = s[:, : self.keep] + y[:, : self.keep]
        return self.mix(torch.cat([residual, s[:, self.keep :], y[:, self.keep :]], 1))


PIECES: dict[str, Callable[[int, int, int], nn.Module]] = {
    cls.__name__: cls
    for cls in (
        *(Plain, Residual, PreActivation, GroupedBottleneck, Inception, Dense, Separable, InvertedResidual, Shuffle),
        *(Partial, Literal, ChannelsLast, Standardised, Attention, ZeroPadded, DualPath),
    )
}


# -- heads: (channels, side of the feature map) -> module --------------------------------------------------------------


class MeanHead(nn.Linear):
    def __init__(self, channels: int, side: int) -> None:
        super().__init__(channels, 7)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean([2, 3]))


class FlattenHead(nn.Module):
    """View by the batch, by an attribute, or by a number in the code."""

    by = "batch"

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.fc_size = channels * side * side
        self.fc, self.out = nn.Linear(self.fc_size, 12), nn.Linear(12, 7)

    def flat(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), -1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.dropout(F.relu(self.fc(self.flat(x))), 0.1, self.training))


class AttributeHead(FlattenHead):
    def flat(self, x: Tensor) -> Tensor:
        return x.view(-1, self.fc_size)


class LiteralHead(FlattenHead):
    def flat(self, x: Tensor) -> Tensor:
        size = {16: 16, 32: 32, 64: 64}.get(self.fc_size)
        return x.view(-1, size) if size else x.flatten(1)


class AdaptiveHead(nn.Sequential):
    def __init__(self, channels: int, side: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 7))


class ConvHead(nn.Module):
    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(channels, 7, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(self.out(x), 1).squeeze(-1).squeeze(-1)


HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    cls.__name__: cls for cls in (MeanHead, FlattenHead, AttributeHead, LiteralHead, AdaptiveHead, ConvHead)
}

SIDE = 16


@dataclass(frozen=True)
class Spec:
    """A network: channels of the stem, (channels, pieces) of each stage, how it goes down, and its head."""

    stem: int
    stages: tuple[tuple[int, tuple[str, ...]], ...]
    pooled: bool
    head: str


class Network(nn.Module):
    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, spec.stem), nn.BatchNorm2d(spec.stem), nn.ReLU())
        self.stages = nn.ModuleList()
        channels, side = spec.stem, SIDE
        for number, (width, pieces) in enumerate(spec.stages):
            stage = nn.Sequential()
            for index, piece in enumerate(pieces):
                down = number > 0 and index == 0
                if down and spec.pooled:
                    stage.append(nn.MaxPool2d(2))
                stage.append(PIECES[piece](channels, width, 2 if down and not spec.pooled else 1))
                channels = width
            self.stages.append(stage)
            side = side // 2 if number > 0 else side
        self.head = HEADS[spec.head](channels, side)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(x)
