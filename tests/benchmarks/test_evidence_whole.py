"""The whole of the evidence, small, on a CPU: killed at random and gone on with; and packed and set up elsewhere."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from benchmarks.gpu import gather, items, pack
from benchmarks.gpu.ledger import Held, read_lines
from reconfig.harness import verdicts

MINUTES = 40
"""More than it takes on two busy cores."""


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(gather.ROOT)}


def marks(folder: Path) -> dict[Path, tuple[int, float]]:
    """How far each result is, and what would differ if that were done twice.

    When an item or a check was written, and how long a network trained: its outcome is written again when a later item
    measures more of it. A shard of AutoAttack is written again after each of its attacks.
    """
    patterns = ("*/finished.json", "correctness/out/*.json")
    found = {path: (0, path.stat().st_mtime_ns) for pattern in patterns for path in folder.glob(pattern)}
    for path in folder.glob("*/out/**/*-*.safetensors"):
        about = verdicts.read(path)[1]
        found[path] = (len(about.get("done", "").split()), path.stat().st_mtime_ns)
    for path in folder.glob("*/out/**/outcome.json"):
        found[path] = (0, json.loads(path.read_text())["seconds"])
    return found


def lost_or_done_twice(before: dict[Path, tuple[int, float]], now: dict[Path, tuple[int, float]]) -> list[Path]:
    """What is no longer there, or was written again without being further."""
    return [path for path, mark in before.items() if path not in now or (now[path][0] == mark[0] and now[path] != mark)]


@pytest.mark.slow
@pytest.mark.timeout(60 * (MINUTES + 5))
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to end commands with their parent")
def test_the_whole_of_it_survives_kills(tmp_path: Path) -> None:
    given, folder, chance = items.items(gpu=False), tmp_path / "evidence", random.Random(0)
    command = [sys.executable, "benchmarks/evidence.py", "--data", "digits", "--minutes", "30", "--out", str(folder)]
    deadline, kills, before = time.monotonic() + 60 * MINUTES, 0, marks(folder)
    while not all(Held(folder, item).finished for item in given):
        assert time.monotonic() < deadline, subprocess.run(
            [*command, "--dry-run"], capture_output=True, text=True
        ).stdout
        with open(tmp_path / "said", "a") as said:
            process = subprocess.Popen(command, cwd=gather.ROOT, env=environment(), stdout=said, stderr=said)
            try:
                process.wait(chance.uniform(15, 120))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
        now = marks(folder)
        assert lost_or_done_twice(before, now) == []
        before = now
        failed = {item.name: Held(folder, item).attempts()[-1] for item in given if Held(folder, item).failures()}
        assert not failed, failed
    assert kills >= 2
    for item in given:
        attempts = Held(folder, item).attempts()
        assert [attempt["ended"] for attempt in attempts].count("finished") == 1
        assert attempts[-1]["ended"] == "finished"
    for metrics in folder.glob("row-*/out/**/metrics.jsonl"):
        assert [row["epoch"] for row in read_lines(metrics)] == [1, 2]
    checks = [json.loads(path.read_text()) for path in (folder / "correctness" / "out").glob("*.json")]
    assert len(checks) >= 13
    assert all(check["holds"] for check in checks)
    text = (folder / "summary.md").read_text()
    assert "## autoattack-speed: autoattack" in text
    assert "## together: together" in text

    sent, back = tmp_path / "sent", tmp_path / "back"
    subprocess.run([*command, "--minutes", "0", "--send", str(sent)], cwd=gather.ROOT, env=environment(), check=True)
    joined = [*command[:-1], str(back), "--minutes", "0", "--join", str(sent)]
    subprocess.run(joined, cwd=gather.ROOT, env=environment(), check=True)
    assert len(list(sent.iterdir())) <= 8
    run = back / "row-vgg11" / "out"
    attacked = [sys.executable, "benchmarks/attack.py", str(run / "seed-0"), "--attacks", "pgd20", "--data", "digits"]
    said = subprocess.run(attacked, cwd=gather.ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert "pgd20" in said.stdout


def bare(folder: Path) -> Path:
    """An environment with those packages alone that the GPU machine's image has; its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    lines = pack.IMAGE.read_text().splitlines()
    there = {canonicalize_name(line.strip()) for line in lines if not line.startswith("#")} - {"pip", "setuptools"}
    (site,) = folder.glob("lib/python3*/site-packages")
    for package in distributions():
        if canonicalize_name(package.metadata["Name"]) not in there:
            continue
        base = Path(str(package.locate_file("")))
        for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__", "bin"}:
            if (base / top).exists() and not (site / top).exists():
                (site / top).symlink_to(base / top)
    return folder / "bin" / "python"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_packed_runs_where_there_is_no_network(tmp_path: Path) -> None:
    refused = ["unshare", "-rn"]
    if subprocess.run([*refused, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not let a test refuse itself the network")
    data = tmp_path / "data"
    data.mkdir()
    (data / "train-0.parquet").write_bytes(b"0")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        pack.pack(pack.Pack(data=data, out=tmp_path / "travel", python=here))
    except pack.PackError as error:
        pytest.skip(f"no registry to take wheels from: {error}")
    python = bare(tmp_path / "bare")
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RECONFIG_DATA")}

    def there(command: str) -> str:
        words = [*refused, "sh", "-euc", command]
        done = subprocess.run(words, env=clean | {"PYTHON": str(python)}, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = f"{python} -c 'import tyro'"
    with pytest.raises(AssertionError, match="No module named 'tyro'"):
        there(code)
    assert "ready:" in there(f"sh {tmp_path}/travel/setup.sh {tmp_path}/work")
    begin = f". {tmp_path}/work/env.sh && cd {tmp_path}/work/checkout && {python}"
    assert f"{tmp_path}/work/checkout/reconfig" in there(f"{begin} -c 'import reconfig; print(reconfig.__file__)'")
    assert "minutes to go" in there(f"{begin} benchmarks/evidence.py --out {tmp_path}/work/evidence --dry-run")
    small = "--minutes 4 --only tests limits-vgg11 --data digits"
    assert "limits-vgg11: finished" in there(f"{begin} benchmarks/evidence.py --out {tmp_path}/work/evidence {small}")
