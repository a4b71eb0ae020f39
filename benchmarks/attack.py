"""Attack the networks of a finished run later and further than the run did, or a model that was trained elsewhere.

    python benchmarks/attack.py runs/vgg11 --attacks aa --images 1000
    python benchmarks/attack.py runs/vgg11 --attacks aa --images 10000
    python benchmarks/attack.py runs/vgg11/variant/best.pt --attacks transfer --source runs/other/original/best.pt
    accelerate launch --multi-gpu benchmarks/attack.py runs/vgg11 --attacks aa
    python benchmarks/attack.py --network path/to/net.py:Net --weights net.safetensors --data cifar10

Takes a run, one of its networks, or one checkpoint. AutoAttack goes on where it was stopped, and from 1,000 images to
10,000 without doing the first again. What is found is entered in the network's outcome.json.

With --network it takes any model. Before it reports a number it looks for what makes such numbers wrong: normalisation
outside the network, dropout left on, vanishing gradients, and others. `attack.py --network --help` has its options.
"""

from __future__ import annotations

import sys

import tyro

from reconfig.harness import command
from reconfig.harness.options import AttackOptions, ModelOptions


def main() -> int:
    """Attack what the command line asks for; the exit code."""
    if any(word.partition("=")[0] == "--network" for word in sys.argv[1:]):
        own = tyro.cli(ModelOptions, description=__doc__)

        def measure() -> None:
            from reconfig.harness.studies import attack_model  # only now, so that --help does not wait for torch

            attack_model.run(own)

        return command.finish(measure)
    options = tyro.cli(AttackOptions, description=__doc__)

    def attack() -> None:
        from reconfig.harness.studies import attack_later  # only now, as above

        for line in attack_later.run(options):
            print(line)

    return command.finish(attack)


if __name__ == "__main__":
    sys.exit(main())
