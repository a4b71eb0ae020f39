"""Attack the networks of a finished run, later and further than the run did.

    python benchmarks/attack.py runs/vgg11 --attacks aa --images 1000
    python benchmarks/attack.py runs/vgg11 --attacks aa --images 10000
    python benchmarks/attack.py runs/vgg11/variant/best.pt --attacks transfer --source runs/other/original/best.pt
    accelerate launch --multi-gpu benchmarks/attack.py runs/vgg11 --attacks aa

Takes a run, one of its networks, or one checkpoint. AutoAttack goes on where it was stopped, and from 1,000 images to
10,000 without doing the first again. What is found is entered in the network's outcome.json.
"""

from __future__ import annotations

import sys

import tyro

from reconfig.harness import command
from reconfig.harness.options import AttackOptions


def main() -> int:
    """Attack what the command line asks for; the exit code."""
    options = tyro.cli(AttackOptions, description=__doc__)

    from reconfig.harness.studies import attack_later  # only now, so that --help does not wait for torch

    def attack() -> None:
        for line in attack_later.run(options):
            print(line)

    return command.finish(attack)


if __name__ == "__main__":
    sys.exit(main())
