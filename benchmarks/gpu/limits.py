"""How much of a card one network's adversarial training uses: rate, memory, the largest batch, the longest kernels.

The rate is that of the multiply-adds a step needs (23 forward passes' worth for SAT with PGD-10: a pass forward and one
back to the images for each of its steps, and three for the weights), over what a large bf16 matrix product reaches
on the same card in the same minute.

    python -m benchmarks.gpu.limits --network zoo:vgg11 --out runs/limits --compute.precision bf16
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import tyro
from torch.profiler import ProfilerActivity, profile

from benchmarks.train_speed import CLASSES, Speed, harness, start
from reconfig.harness import files
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Compute
from reconfig.harness.jobs.network import plan_network
from reconfig.harness.network import Network


@dataclass(frozen=True)
class Limits:
    """What to look at."""

    out: Path
    """Folder of limits.json and limits.md."""
    network: str = "zoo:vgg11"
    """Its name, such as zoo:vgg11, timm:resnet10t or file.py:Net."""
    first: int = 128
    """The smallest batch."""
    largest: int = 2**15
    """The largest batch that is tried; each is twice the one before, until the memory is full."""
    seconds: float = 60.0
    """No larger batch is tried after so long."""
    attack_steps: int = 10
    """Gradient steps of the attack."""
    rounds: int = 5
    """Steps that are timed at each batch, after two that are not."""
    matrix: int = 8192
    """Rows and columns of the matrices that the card's rate is measured with."""
    kernels: int = 10
    """How many of a step's longest kernels are named."""
    compute: Compute = field(default_factory=Compute)
    """How the harness computes."""


def synchronise() -> None:
    """Wait for a GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], object], rounds: int, warmup: int = 2) -> float:
    """The mean time of ``work``."""
    for _ in range(warmup):
        work()
    synchronise()
    began = time.perf_counter()
    for _ in range(rounds):
        work()
    synchronise()
    return (time.perf_counter() - began) / rounds


def peak(device: torch.device, size: int) -> float:
    """Floating-point operations a second of a bf16 product of random matrices."""
    draws = torch.Generator(device).manual_seed(0)
    one, other = (torch.randn(size, size, device=device, generator=draws).bfloat16() for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: one @ other, 20 if device.type == "cuda" else 2)


def images(count: int) -> Split:
    """Random images, as many as a batch needs."""
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, 32, 32), generator=draws, dtype=torch.uint8)
    return Split(pixels, torch.randint(CLASSES, (count,), generator=draws))


def multiply_adds(network: str) -> int:
    """Of one image's way forward."""
    split = images(2)
    return plan_network(Network(network), Dataset("random", CLASSES, split, split)).flops


def at_batch(wanted: Limits, batch: int, operations: float, rate: float) -> dict[str, Any]:
    """Images a second, share of the card's rate, and memory at one batch."""
    speed = Speed(network=wanted.network, batch=batch, attack_steps=wanted.attack_steps)
    gpu = torch.cuda.is_available() and wanted.compute.device != "cpu"
    gc.collect()  # a training before this one, and the pool of its graph
    if gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with TemporaryDirectory() as folder:
        step = harness(speed, wanted.compute, images(batch), Path(folder))
        seconds = seconds_of(step, wanted.rounds)
    return {
        "batch": batch,
        "images_per_second": batch / seconds,
        "share_of_rate": batch * operations / seconds / rate,
        # Reserved, since a CUDA graph's pool counts there and not among what is allocated between the replays.
        "gib": torch.cuda.max_memory_reserved() / 2**30 if gpu else None,
    }


def longest(wanted: Limits, batch: int) -> list[dict[str, Any]]:
    """The kernels (on a CPU: operators) that take most of a step, with their share of it."""
    speed = Speed(network=wanted.network, batch=batch, attack_steps=wanted.attack_steps)
    gpu = torch.cuda.is_available() and wanted.compute.device != "cpu"
    with TemporaryDirectory() as folder:
        step = harness(speed, wanted.compute, images(batch), Path(folder))
        for _ in range(2):
            step()
        synchronise()
        with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as seen:
            step()
            synchronise()
    times = {event.key: _own_time(event, gpu) for event in seen.key_averages()}
    whole = sum(times.values()) or 1.0
    ranked = sorted(times, key=lambda name: -times[name])[: wanted.kernels]
    return [{"kernel": name[:120], "share": times[name] / whole} for name in ranked]


def _own_time(event: Any, gpu: bool) -> float:
    return float(event.self_device_time_total if gpu else event.self_cpu_time_total)


def main(wanted: Limits) -> None:
    """Measure, and write what was found after every batch."""
    wanted.out.mkdir(parents=True, exist_ok=True)
    computer = start(wanted.compute, wanted.out)
    rate = peak(computer.device, wanted.matrix)
    operations = 2.0 * multiply_adds(wanted.network) * (2 * wanted.attack_steps + 3)
    found: dict[str, Any] = {
        "network": wanted.network,
        "compute": vars(wanted.compute),
        "torch": torch.__version__,
        "hardware": computer.hardware(),
        "bf16_product_tflops": rate / 1e12,
        "gflop_per_image": operations / 1e9,
        "batches": [],
        "full_at": None,
        "kernels": longest(wanted, wanted.first),
    }
    write(wanted.out, found)
    batch, began = wanted.first, time.monotonic()
    while batch <= wanted.largest and time.monotonic() - began < wanted.seconds:
        try:
            found["batches"].append(at_batch(wanted, batch, operations, rate))
        except torch.OutOfMemoryError:
            found["full_at"] = batch
        write(wanted.out, found)
        if found["full_at"] is not None:
            break
        batch *= 2


def write(out: Path, found: dict[str, Any]) -> None:
    """Write limits.json, and limits.md for people."""
    files.write_json(out / "limits.json", found)
    hardware, compute = found["hardware"], found["compute"]
    chosen = ", ".join(f"{name} {value}" for name, value in compute.items() if value not in (False, "auto"))
    lines = [
        f"{found['network']}, SAT, {chosen}, {hardware['gpu'] or hardware['cpu']}, torch {found['torch']};"
        f" a bf16 matrix product reaches {found['bf16_product_tflops']:.1f} TFLOP/s,"
        f" a step needs {found['gflop_per_image']:.2f} GFLOP for an image",
        "",
        "| batch | images/s | share of that rate | GiB |",
        "| --: | --: | --: | --: |",
    ]
    for row in found["batches"]:
        memory = "" if row["gib"] is None else f"{row['gib']:.1f}"
        lines.append(f"| {row['batch']} | {row['images_per_second']:,.1f} | {row['share_of_rate']:.1%} | {memory} |")
    if found["full_at"] is not None:
        lines.append(f"\nThe memory is full at a batch of {found['full_at']}.")
    lines += ["", "| longest kernels | share of a step |", "| --- | --: |"]
    lines += [f"| `{row['kernel'].replace('|', '/')}` | {row['share']:.1%} |" for row in found["kernels"]]
    files.write_text(out / "limits.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Limits, description=__doc__))
