"""AutoAttack on 200 digits in shards of 50, to be killed: the script of test_autoattack.py.

python tests/harness/helpers/autoattack_shards.py OUT      where OUT holds weights.pt; leaves found.pt
"""

from __future__ import annotations

import sys
from pathlib import Path

import small_digits
import torch
from small_training import small_machine

from reconfig.harness.attacks import autoattack
from reconfig.harness.attacks.autoattack import STANDARD

if __name__ == "__main__":
    out = Path(sys.argv[1])
    model = small_digits.network()
    model.load_state_dict(torch.load(out / "weights.pt"))
    setting = small_digits.in_shards(50)
    found = autoattack.attack(small_machine(out), model, small_digits.unseen(200), setting, STANDARD, out / "aa")
    torch.save(found, out / "found.pt")
