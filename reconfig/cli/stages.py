"""``reconfig stages MODEL``: the stages as reconfig sees them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from reconfig.cli.options import Input, Json, Model, example
from reconfig.cli.printing import aside, print_json


@dataclass(frozen=True)
class Stages:
    """Show the stages of a network."""

    model: Model
    input: Input = None
    json: Json = False

    def __call__(self) -> None:
        import reconfig
        from reconfig import networks

        with aside():
            model = networks.build(self.model)
            found = reconfig.stages(model, example(model, self.input))
        if self.json:
            print_json(asdict(found))
        else:
            print(found)
