"""Commands that show what is read of a network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from reconfig.cli.options import Input, Json, Model, example
from reconfig.cli.printing import aside, print_json

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Shown:
    """Base of a command that prints what it reads of a network, as a table or as JSON."""

    model: Model
    input: Input = None
    json: Json = False

    def read(self, model: nn.Module, given: tuple[Tensor, ...] | None) -> Any:
        """What is shown: a dataclass that prints as a table."""
        raise NotImplementedError

    def __call__(self) -> None:
        from reconfig import networks

        with aside():
            model = networks.build(self.model)
            found = self.read(model, example(model, self.input))
        if self.json:
            print_json(asdict(found))
        else:
            print(found)
