"""``reconfig count MODEL``: parameters and multiply-adds, by fvcore's count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconfig.cli.shown import Shown

if TYPE_CHECKING:
    from torch import Tensor, nn

    import reconfig


@dataclass(frozen=True)
class Count(Shown):
    """Count a network's parameters and multiply-adds of one example, in all and by stage."""

    def read(self, model: nn.Module, given: tuple[Tensor, ...] | None) -> reconfig.Counted:
        import reconfig

        return reconfig.count(model, given)
