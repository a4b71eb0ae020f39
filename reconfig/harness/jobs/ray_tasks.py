"""Jobs as tasks of Ray, on this machine or on a cluster, each in a process of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from rich.console import Console

import reconfig
from reconfig.harness import files
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.experiment import Compute, Setting
from reconfig.harness.jobs.footprint import needed
from reconfig.harness.jobs.forecast import Times, forecast, times
from reconfig.harness.jobs.job import Job, complete
from reconfig.harness.machine import machine
from reconfig.harness.network import Network
from reconfig.harness.normalised import Moments
from reconfig.harness.options import SweepOptions

_STORE = 100 * 2**20
"""Bytes of Ray's object store here: no job hands images or weights over, all of them use files."""
_RETRIES = 3
"""How often a job is begun again whose worker was lost."""

Finished = tuple[Job, str | None]
"""A job that ended, and what went wrong with it, if anything did."""


class RayError(reconfig.ReconfigError):
    """Ray that is not installed, cannot be reached, or has less than a job needs."""


class Timing(NamedTuple):
    """Jobs to be timed before the first begins, and who wants to know."""

    samples: Sequence[Job]
    tell: Callable[[Sequence[float | None], int], None]
    """(seconds that each takes, or None; how many run at once)."""


def on_ray(jobs: Sequence[Job], options: SweepOptions, timing: Timing) -> Iterator[Finished]:
    """Do ``jobs`` as tasks of a Ray cluster, or of a Ray that lives as long as this takes.

    Raises:
        RayError: If Ray is not installed or cannot be reached.
    """
    with started(options, jobs[0].setting.compute) as (ray, gpus):
        timer = ray.remote(num_cpus=options.cpus_per_run, num_gpus=gpus, max_retries=0)(seconds)
        asked = [timer.remote(each, options.cpus_per_run) for each in timing.samples]
        timing.tell([_answer(ray, each) for each in asked], _at_once(ray, options.cpus_per_run, gpus))
        # A worker that is lost (its machine went away) is tried again and goes on from its checkpoint.
        task = ray.remote(num_cpus=options.cpus_per_run, num_gpus=gpus, max_retries=_RETRIES)(work)
        running = {task.remote(each, options.save_every, options.cpus_per_run): each for each in jobs}
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            try:
                wrong = ray.get(done)
            except ray.exceptions.RayError as lost:
                wrong = files.reason(lost)
            yield running.pop(done), wrong


@contextmanager
def started(options: SweepOptions, compute: Compute) -> Iterator[tuple[ModuleType, float]]:
    """Within, Ray, connected to the cluster of the options or running on this machine; and the GPUs of one run.

    Raises:
        RayError: If Ray is not installed or cannot be reached, or has less than a run needs.
    """
    ray = import_ray()
    gpus = options.gpus_per_run
    if gpus is None:
        gpus = 1.0 if torch.cuda.is_available() and compute.device != "cpu" else 0.0
    runtime = {"env_vars": {"OMP_NUM_THREADS": str(options.cpus_per_run)}}
    cores = options.cpus or os.cpu_count() or 1
    if options.address is None and options.cpus_per_run > cores:
        raise RayError(f"cpus_per_run is {options.cpus_per_run}, but Ray may use {cores} cores here; lower it")
    here = {"include_dashboard": False, "num_cpus": cores, "object_store_memory": _STORE}
    where = {"address": options.address} if options.address is not None else here
    try:
        ray.init(**where, runtime_env=runtime, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise RayError(f"Ray does not start or cannot be reached: {files.reason(error)}") from error
    try:
        if options.address is None and gpus > ray.cluster_resources().get("GPU", 0):
            raise RayError(f"gpus_per_run is {gpus:g}, but this machine has no GPU; leave --gpus-per-run out")
        yield ray, gpus
    finally:
        ray.shutdown()


def _answer(ray: ModuleType, asked: Any) -> float | None:
    try:
        return ray.get(asked)
    except ray.exceptions.RayError:  # what is wrong, the job itself will say
        return None


def _at_once(ray: ModuleType, cpus: int, gpus: float) -> int:
    """How many jobs the cluster has room for."""
    there = ray.cluster_resources()
    room = [there.get("CPU", 0) / cpus, *([there.get("GPU", 0) / gpus] if gpus else [])]
    return int(min(room))


def import_ray() -> ModuleType:
    """Ray, without its reports to its makers and with no GPU for those who asked for none.

    Raises:
        RayError: If it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a task given no GPU sees none
    try:
        import ray
    except ImportError as error:
        raise RayError("sweeps run on Ray, which is not installed: pip install 'robust-reconfig[sweep]'") from error
    logging.getLogger("ray").setLevel(logging.ERROR)  # its notices are for those who run a cluster
    return ray


def seconds(job: Job, threads: int) -> float:
    """What one job takes, timed in a process of its own: see ``forecast``."""
    torch.set_num_threads(threads)
    return forecast(job, _images(job), machine.start(job.setting.compute, "none", job.folder))


def times_of(network: Network, setting: Setting, moments: Moments | None, folder: Path, threads: int) -> Times:
    """What training and measuring a network take, in a process of its own; accelerate may write into ``folder``."""
    torch.set_num_threads(threads)
    computer = machine.start(setting.compute, "none", folder)
    return times(network, setting, load_dataset(setting.data), moments, computer)


def work(job: Job, save_every: float, threads: int) -> str | None:
    """One job, in a process of its own; what went wrong, if anything did."""
    torch.set_num_threads(threads)
    try:
        computer = machine.start(job.setting.compute, "none", job.folder)
        complete(job, _images(job), computer, Console(quiet=True), save_every)
    except reconfig.ReconfigError as error:
        return str(error)
    return None


def _images(job: Job) -> Dataset:
    return load_dataset(job.setting.data, needed([job.network], job.setting))
