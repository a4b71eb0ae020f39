"""Measures that two processes share: the script of test_measures.py.

python -m torch.distributed.run --nproc_per_node 2 ... shared_measures.py OUT MEASURE...    where OUT holds weights.pt
"""

from __future__ import annotations

import sys
from pathlib import Path

import small_digits
import torch

from reconfig.harness.experiment import Compute
from reconfig.harness.machine import machine
from reconfig.harness.measuring.scores import scores

if __name__ == "__main__":
    out, *measures = sys.argv[1:]
    computer = machine.start(Compute(device="cpu"), None, Path(out))
    model = small_digits.network()
    model.load_state_dict(torch.load(Path(out) / "weights.pt"))
    setting = small_digits.measured(*measures, aa_shard=7)
    scores(computer, computer.set_up(model), small_digits.unseen(41), setting, Path(out) / "best")
    assert computer.accelerator.num_processes == 2
    computer.accelerator.end_training()
