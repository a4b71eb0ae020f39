"""How the time of plan and apply grows with depth: residual networks of 50 to 1,000 blocks.

Prints CPU seconds a block, the best of some runs in turns, and how the deepest compares with the shallowest.

    python benchmarks/growth.py
    python benchmarks/growth.py --blocks 50 1000 --profile
"""

from __future__ import annotations

import cProfile
import pstats
import time
from dataclasses import dataclass

import torch
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import reconfig

RULE = "10-10-4"


@dataclass(frozen=True)
class Options:
    """What to time."""

    blocks: tuple[int, ...] = (50, 101, 152, 500, 1000)
    """Depths of the networks, shallowest first."""
    runs: int = 3
    """How often each is timed."""
    profile: bool = False
    """Show where the deepest network's time goes."""


class Block(nn.Module):
    """Two convolutions and what goes around them."""

    def __init__(self, incoming: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(incoming, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Conv2d(incoming, width, 1, stride, bias=False) if incoming != width else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, incoming, H, W) to (N, width, H / stride, W / stride)."""
        same = x if self.shortcut is None else self.shortcut(x)
        x = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(x)) + same).relu()


class ResNet(nn.Module):
    """Four stages of narrow blocks, as even as ``blocks`` allows."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.stages = nn.ModuleList()
        incoming = 8
        for stage, width in enumerate((8, 16, 24, 32)):
            depth = blocks // 4 + (stage < blocks % 4)
            self.stages.append(
                nn.Sequential(
                    *(
                        Block(incoming if first else width, width, 2 if first and stage else 1)
                        for first in (number == 0 for number in range(depth))
                    )
                )
            )
            incoming = width
        self.fc = nn.Linear(incoming, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 10)."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3)))


def measure(options: Options) -> dict[int, tuple[float, float]]:
    """CPU seconds of ``plan`` and of ``apply`` by number of blocks: the least, which other processes disturb least."""
    example = torch.zeros(1, 3, 32, 32)
    models = {blocks: ResNet(blocks) for blocks in options.blocks}
    reconfig.apply(models[options.blocks[0]], RULE, example_input=example)  # the first run pays for imports
    best = dict.fromkeys(options.blocks, (float("inf"), float("inf")))
    for blocks in track([*options.blocks] * options.runs, description="timing"):
        taken = _seconds(models[blocks], example)
        best[blocks] = (min(best[blocks][0], taken[0]), min(best[blocks][1], taken[1]))
    return best


def _seconds(model: nn.Module, example: Tensor) -> tuple[float, float]:
    """CPU seconds of ``plan`` and of ``apply``, which is ``plan(...).apply(model)``."""
    began = time.process_time()
    plan = reconfig.plan(model, RULE, example_input=example)
    planned = time.process_time()
    plan.apply(model)
    return planned - began, time.process_time() - began


def table(times: dict[int, tuple[float, float]]) -> Table:
    """A row for each depth, times a block in ms."""
    result = Table("blocks", "plan (s)", "a block (ms)", "apply (s)", "a block (ms)", "beside the first")
    first = next(iter(times))
    for blocks, seconds in times.items():
        ratios = [second / blocks / (least / first) for second, least in zip(seconds, times[first], strict=True)]
        cells = [cell for second in seconds for cell in (f"{second:.2f}", f"{1000 * second / blocks:.2f}")]
        result.add_row(str(blocks), *cells, " / ".join(f"{ratio:.2f}" for ratio in ratios))
    return result


def show_profile(blocks: int, lines: int = 25) -> None:
    """The functions in which ``apply`` spends its time on a network of so many blocks."""
    model, example = ResNet(blocks), torch.zeros(1, 3, 32, 32)
    profiler = cProfile.Profile()
    profiler.runcall(reconfig.apply, model, RULE, example_input=example)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(lines)


def main(options: Options) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    Console().print(table(measure(options)))
    if options.profile:
        show_profile(max(options.blocks))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
