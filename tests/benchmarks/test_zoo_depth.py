from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn

import reconfig
from benchmarks.judging import depth
from benchmarks.judging.depth import DepthRow, copies, depth_rows_of, judge_blocks, judge_weights
from benchmarks.judging.depth_summary import depth_summary
from benchmarks.judging.models import Entry
from benchmarks.judging.sight import look

IMAGES = torch.rand(1, 3, 16, 16)
NET = Entry("net", "here", "plain", "cnn", 16, shape=(3, 16, 16))


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, width, 3, stride, 1)
        self.skip = nn.Identity() if inputs == width else nn.Conv2d(inputs, width, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.skip(x) + self.conv(x).relu()


class Net(nn.Module):
    """Two stages of blocks behind a stem."""

    def __init__(self, depths: tuple[int, int] = (3, 2)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, 1, 1)
        self.stage1 = self._stage(4, 6, depths[0])
        self.stage2 = self._stage(6, 8, depths[1])
        self.fc = nn.Linear(8, 10)

    def _stage(self, inputs: int, width: int, depth: int) -> nn.Sequential:
        return nn.Sequential(Block(inputs, width, 2), *[Block(width, width) for _ in range(depth - 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.stage2(self.stage1(self.stem(x))).mean((2, 3)))


def test_every_stage_of_blocks_is_changed_and_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "build", lambda entry: Net())
    rows = depth_rows_of(NET)
    assert [(row.blocks, row.dropped, row.added, row.verdict) for row in rows] == [
        (3, "right", "right", "right"),
        (2, "right", "right", "right"),
    ]


def test_a_refusal_is_told_from_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "build", lambda entry: Net())
    said = iter(
        [reconfig.DepthError("no"), ZeroDivisionError("a"), reconfig.DepthError("no"), reconfig.DepthError("n")]
    )

    def refuse(*args: object, **options: object) -> None:
        raise next(said)

    monkeypatch.setattr(reconfig, "plan", refuse)
    first, second = depth_rows_of(NET)
    assert (first.dropped, first.added, first.verdict) == ("refused: no", "ZeroDivisionError: a", "wrong")
    assert second.verdict == "refused"


def test_a_model_that_does_not_run_has_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "build", lambda entry: nn.Linear(2, 2))
    (row,) = depth_rows_of(NET)
    assert row.stage == 0
    assert row.verdict == "wrong"
    assert row.dropped.startswith("RuntimeError: mat1 and mat2")


def judged(result: nn.Module, index: int = 1, change: int = -1) -> list[str]:
    model = Net()
    stage = next(stage for stage in reconfig.stages(model, IMAGES) if stage.index == index)
    seen = judge_blocks(model, result, look(model, IMAGES), look(result, IMAGES), stage, change)
    return seen + judge_weights(model, result, stage.blocks, change)


def without(stage: str, number: int) -> nn.Module:
    result = Net()
    del getattr(result, stage)[number]
    return result


def repeated(stage: str, number: int) -> nn.Module:
    result = Net()
    blocks = getattr(result, stage)
    blocks.insert(number, copy.deepcopy(blocks[number]))
    return result


def test_the_right_blocks_pass() -> None:
    for number in (1, 2):
        assert judged(without("stage1", number)) == []
        assert judged(repeated("stage1", number), change=1) == []


def test_wrong_blocks_are_seen() -> None:
    assert judged(Net()) == [
        "3 blocks ran before and 3 now, which should be -1",
        "the blocks have not the tensors of the original's, in its order",
    ]
    assert "other convolutions than those of blocks differ" in judged(without("stage2", 1))
    other = without("stage1", 2)
    with torch.no_grad():
        other.stage1[1].conv.weight[0, 0, 0, 0] += 1
    assert judged(other) == ["the blocks have not the tensors of the original's, in its order"]
    other = without("stage1", 2)
    with torch.no_grad():
        other.fc.bias += 1
    assert judged(other) == ["tensors outside of blocks are not the original's"]
    new = Net((4, 2))
    new.load_state_dict(Net().state_dict(), strict=False)
    assert judged(new, change=1) == ["the blocks have not the tensors of the original's, in its order"]


class Row(nn.Module):
    """Blocks and, behind them, a Sequential of two layers, in one container."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        blocks = [Block(3, 6, 2), *[Block(6, 6) for _ in range(depth - 1)]]
        self.all = nn.Sequential(*blocks, nn.Sequential(nn.Conv2d(6, 9, 1), nn.BatchNorm2d(9)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.all(x).mean((2, 3))


def test_a_sequential_that_moved_up_into_a_blocks_place_is_not_taken_apart() -> None:
    model = Row()
    (stage,) = reconfig.stages(model, IMAGES)
    result = copy.deepcopy(model)
    del result.all[1]
    stage = dataclasses.replace(stage, blocks=("all.0", "all.1", "all.2"))
    assert judge_blocks(model, result, look(model, IMAGES), look(result, IMAGES), stage, -1) == []
    assert judge_weights(model, result, stage.blocks, -1) == []


class Ended(Net):
    """The last block stands beside the container of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.end = Block(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.end(self.stage2(self.stage1(self.stem(x)))).mean((2, 3)))


def test_what_holds_blocks_is_no_block_beside_others() -> None:
    model, result = Ended(), Ended()
    stage = reconfig.stages(model, IMAGES)[-1]
    assert stage.blocks == ("stage2.0", "stage2.1", "end")
    del result.stage2[1]
    assert judge_blocks(model, result, look(model, IMAGES), look(result, IMAGES), stage, -1) == []
    assert judge_weights(model, result, stage.blocks, -1) == []
    with torch.no_grad():
        result.end.conv.weight += 1
    assert judge_weights(model, result, stage.blocks, -1) != []


def test_a_block_inside_of_what_stands_beside_others_is_judged_whole() -> None:
    model, result = Net(), Net()
    stage = reconfig.stages(model, IMAGES)[0]
    stage = dataclasses.replace(stage, blocks=("stage1.0", "stage1.1", "stage1.2.conv"))
    del result.stage1[1]
    assert judge_blocks(model, result, look(model, IMAGES), look(result, IMAGES), stage, -1) == []
    assert judge_weights(model, result, stage.blocks, -1) == []


def test_copies_are_seen_where_the_stages_name_no_block() -> None:
    model = Net((4, 2))
    stage = next(stage for stage in reconfig.stages(model, IMAGES) if stage.index == 1)
    assert copies(model, look(model, IMAGES), stage) == ["stage1.1", "stage1.2", "stage1.3"]


def test_the_summary_counts_pairs() -> None:
    refused = "refused: stage 4 has 2 blocks and cannot have 1"
    rows = [
        DepthRow("a", "timm", "f", "cnn", 1, 3, "right", "right"),
        DepthRow("a", "timm", "f", "cnn", 4, 2, refused, "right"),
        DepthRow("b", "timm", "f", "cnn", 2, 2, "right", "outputs of shapes ()"),
        DepthRow("c", "timm", "g", "hybrid"),
    ]
    text = depth_summary(rows)
    assert "3 stages of 2 models (1 have none), 1 right (33.3%), 2 right or refused with a reason (66.7%)." in text
    assert "| cnn | 2 | 3 | 1 | 1 | 1 | 2 | 2 |" in text
    assert "| stage _ has _ blocks and cannot have _ | 1 |" in text
    assert "| b | 2 | stage 2, a block more: outputs of shapes () |" in text
