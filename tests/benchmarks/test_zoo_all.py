from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from benchmarks.judging import listing
from benchmarks.judging.listing import MOST, SMALL, Listed, everything, examine, shapes_of
from benchmarks.judging.models import Entry

timm = pytest.importorskip("timm")

NAMES = ["lcnet_035", "mixer_s32_224", "mobilenetv3_small_100", "tf_mobilenetv3_small_100"]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were built, of a timm that has four."""
    names: list[str] = []
    create = timm.create_model

    def note(name: str, **options: Any) -> nn.Module:
        names.append(name)
        model: nn.Module = create(name, **options)
        return model

    monkeypatch.setattr(timm, "list_models", lambda: NAMES)
    monkeypatch.setattr(timm, "create_model", note)
    return names


def test_equal_shapes_are_listed_once_and_no_name_is_built_again(tmp_path: Path, built: list[str]) -> None:
    listed = everything(tmp_path, Console(quiet=True))
    assert listed == [
        Entry("lcnet_035", "timm", "mobilenetv3", "cnn", SMALL),
        Entry("mixer_s32_224", "timm", "mlp_mixer", "hybrid", 224),
        Entry("mobilenetv3_small_100", "timm", "mobilenetv3", "cnn", SMALL),
    ]
    assert built == NAMES
    (path,) = tmp_path.iterdir()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]) + lines[3][:20])  # as a run leaves it that was ended
    assert everything(tmp_path, Console(quiet=True)) == listed
    assert built == [*NAMES, NAMES[3]]


@pytest.mark.parametrize(
    ("one", "judged"),
    [
        (Listed("a", params=MOST, convolutions=1), True),
        (Listed("a", params=MOST + 1, convolutions=1), False),
        (Listed("a", params=9, convolutions=0), False),
        (Listed("a", error="RuntimeError: no"), False),
    ],
)
def test_what_is_judged(one: Listed, judged: bool) -> None:
    assert one.judged is judged


def test_shapes_are_told_apart_by_name_and_size() -> None:
    layers = [nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1)]
    digests = [shapes_of(nn.ModuleDict({"a": layer})) for layer in layers]
    assert digests[0] == digests[1] != digests[2]
    assert shapes_of(nn.ModuleDict({"b": layers[0]})) != digests[0]


class Attention(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ x.transpose(-1, -2)).softmax(-1) @ x


@pytest.mark.parametrize(
    ("layers", "size", "found"),
    [
        ((nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)), 224, ("cnn", SMALL)),
        ((nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)), 96, ("cnn", 96)),
        ((nn.Conv2d(3, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1)), 224, ("cnn", SMALL)),  # a gate
        ((nn.Conv2d(3, 4, 99, 2),), 224, ("cnn", 224)),  # comes to another scale
        ((nn.Conv2d(3, 4, 16, 16), nn.Flatten(), nn.Linear(4 * 14 * 14, 2)), 224, ("cnn", 224)),  # takes one size
        ((nn.Conv2d(3, 4, 16, 16), Attention()), 224, ("hybrid", SMALL)),
        ((nn.Conv2d(3, 4, 16, 16), *[nn.Linear(14, 14)] + [nn.Linear(14, 14) for _ in range(3)]), 224, ("hybrid", 224)),
    ],
)
def test_the_kind_and_the_size_are_seen(layers: tuple[nn.Module, ...], size: int, found: tuple[str, int]) -> None:
    assert examine(nn.Sequential(*layers).to("meta"), size) == found


def test_windows_of_a_size_of_their_own_are_judged_at_the_networks_size() -> None:
    first = nn.Conv2d(3, 8, 16, 16)
    windows = nn.Sequential(first, nn.AdaptiveAvgPool2d(7), nn.Conv2d(8, 8, 3, padding=1)).to("meta")
    gate = nn.Sequential(first, nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1)).to("meta")
    assert (examine(windows, 224)[1], examine(gate, 224)[1]) == (224, SMALL)


def test_nothing_is_built_where_all_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "list_models", lambda: ["a", "b"])
    lines = [Listed("a", "f", 9, 1, "x", "cnn", 128), Listed("b", "f", 9, 1, "x")]
    (tmp_path / f"timm-{timm.__version__}.jsonl").write_text("".join(map(listing._line, lines)))
    assert everything(tmp_path, Console(quiet=True)) == [Entry("a", "timm", "f", "cnn", 128)]
