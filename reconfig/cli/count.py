"""``reconfig count MODEL``: parameters and multiply-adds, by fvcore's count."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from reconfig.cli.options import Input, Json, Model, example
from reconfig.cli.printing import aside, print_json


@dataclass(frozen=True)
class Count:
    """Count a network's parameters and multiply-adds of one example, in all and by stage."""

    model: Model
    input: Input = None
    json: Json = False

    def __call__(self) -> None:
        import reconfig
        from reconfig import networks

        with aside():
            model = networks.build(self.model)
            counted = reconfig.count(model, example(model, self.input))
        if self.json:
            print_json(asdict(counted))
        else:
            print(counted)
