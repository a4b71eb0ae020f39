"""``reconfig stages MODEL``: the stages as reconfig sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconfig.cli.shown import Shown

if TYPE_CHECKING:
    from torch import Tensor, nn

    import reconfig


@dataclass(frozen=True)
class Stages(Shown):
    """Show the stages of a network."""

    def read(self, model: nn.Module, given: tuple[Tensor, ...] | None) -> reconfig.Stages:
        import reconfig

        return reconfig.stages(model, given)
