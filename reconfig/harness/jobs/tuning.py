"""Trials on Ray Tune: Optuna proposes them, and halving stops the worse ones early.

Nothing that Ray or Optuna writes is
read again: a search that goes on is given what is known of its trials, and both are told that.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from reconfig.harness.jobs.ray_tasks import RayError, import_ray
from reconfig.harness.jobs.trials import Kind, Known, Limits, Listener, Objective, Parameters, Report

ETA = 3
"""Of three trials that came equally far, halving lets one go on (Li et al., 2020)."""
_RETRIES = 1
"""How often a trial is begun again whose worker was lost; it goes on from its checkpoint."""
_IDLE = 5
"""Trials in a row that train nothing, after which a search is over."""


def tune(
    objective: Objective,
    distributions: Mapping[str, Any],
    kind: Kind,
    limits: Limits,
    listener: Listener,
    scratch: Path,
    *,
    seed: int = 0,
    first: Sequence[Parameters] = (),
    known: Sequence[Known] = (),
    cpus: float = 1,
    gpus: float = 0,
) -> None:
    """Do trials on a Ray that is started, until the limits are reached.

    Args:
        objective: what a trial does.
        distributions: what each parameter is drawn from, as Optuna has it.
        kind: search proposes by Optuna's tree of Parzen estimators (Bergstra et al., 2011) and stops trials by
            asynchronous successive halving (Li et al., 2020); random draws, and every trial goes to its end.
        limits: when to stop.
        listener: hears of all trials.
        scratch: a folder for Ray alone, which every machine of a cluster sees; it is removed.
        seed: of the proposals.
        first: trials that come before all proposed ones.
        known: what is known of trials already.
        cpus: cores of a trial.
        gpus: GPUs of a trial.

    Raises:
        RayError: If Optuna or Ray Tune is not installed, or trial after trial fails.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the harness writes what there is to know
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # paths of data stay what they are
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    import_ray()
    try:
        import optuna
        from ray import tune as ray_tune
        from ray.tune import schedulers
        from ray.tune.search.optuna import OptunaSearch
    except ImportError as error:
        raise RayError(f"a search needs Ray Tune and Optuna ({error}): pip install 'robust-reconfig[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    spent = _Spent(epochs=sum(len(each.robust) for each in known))
    callback, stopper = _adapters(ray_tune, listener, limits, spent)
    finished = [each for each in known if each.ended and each.robust]
    search = OptunaSearch(
        dict(distributions),
        metric="robust",
        mode="max",
        points_to_evaluate=[dict(parameters) for parameters in first],
        sampler=_sampler(optuna, kind, seed, len(known)),
    )
    for each in finished:
        search.add_evaluated_point(dict(each.parameters), each.robust[-1])
    scheduler = None  # every trial goes to its end
    if kind == "search":
        scheduler = schedulers.ASHAScheduler(
            "epoch", "robust", "max", max_t=limits.trial_epochs, grace_period=1, reduction_factor=ETA
        )
        _recall(scheduler, finished)

    def trial(parameters: dict[str, float]) -> None:
        for report in objective(parameters):
            ray_tune.report(asdict(report))

    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray's and Optuna's own making
            ray_tune.Tuner(
                ray_tune.with_resources(trial, {"cpu": cpus, "gpu": gpus}),
                tune_config=ray_tune.TuneConfig(
                    search_alg=search, scheduler=scheduler, num_samples=-1, reuse_actors=True
                ),
                run_config=ray_tune.RunConfig(
                    name=scratch.name,
                    storage_path=str(scratch.parent.resolve()),
                    verbose=0,
                    stop=stopper,
                    callbacks=[callback],
                    failure_config=ray_tune.FailureConfig(max_failures=_RETRIES),
                ),
            ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if spent.idle >= _IDLE and spent.error:
        raise RayError(f"the last {spent.idle} trials trained nothing: {spent.error}")


def _sampler(optuna: Any, kind: str, seed: int, known: int) -> Any:
    """Draws of another part of the search are other draws."""
    if kind == "random":
        return optuna.samplers.RandomSampler(seed=seed + known)
    return optuna.samplers.TPESampler(seed=seed + known, multivariate=True)


def _recall(scheduler: Any, finished: Sequence[Known]) -> None:
    """Let halving know how far earlier trials came, so that it compares new ones with them too."""
    for number, each in enumerate(finished):
        stands_for = SimpleNamespace(trial_id=f"known {number}")
        scheduler.on_trial_add(None, stands_for)
        for epoch, robust in enumerate(each.robust, 1):
            scheduler.on_trial_result(None, stands_for, {"epoch": epoch, "robust": robust})


@dataclass
class _Spent:
    """How far a search has come."""

    epochs: int
    began: float = field(default_factory=time.monotonic)
    idle: int = 0
    """Trials in a row that trained nothing: none can be had, or all were tried before."""
    error: str = ""
    """Why the last of them did not, if it was an error."""


def _adapters(ray_tune: Any, listener: Listener, limits: Limits, spent: _Spent) -> tuple[Any, Any]:
    """What tells the listener of Tune's trials, and what ends the whole once the limits are reached."""
    heard: dict[str, int] = {}

    class Unkept:
        """Tune pickles what it is given for a restoration of its own, which is never asked for."""

        def __reduce__(self) -> tuple[type[object], tuple[()]]:
            return object, ()

    class Tell(Unkept, ray_tune.Callback):  # type: ignore[misc]
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Mapping[str, Any], **_: Any) -> None:
            report = _report(result)
            spent.error = report.error
            listener.reported(trial.config, report)

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            spent.idle += 1
            listener.ended(trial.config)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            spent.idle += 1
            spent.error = _last_line(trial.error_file)

        def on_step_end(self, iteration: int, trials: Any, **_: Any) -> None:
            listener.tick()

    class Enough(Unkept, ray_tune.Stopper):  # type: ignore[misc]
        def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
            if result["epoch"] > heard.get(trial_id, 0):  # Tune repeats the last result of a trial that returns
                heard[trial_id] = result["epoch"]
                spent.epochs += result["seconds"] > 0
                spent.idle = 0 if result["seconds"] else spent.idle
            return False

        def stop_all(self) -> bool:
            over = time.monotonic() - spent.began >= limits.seconds
            return over or spent.epochs >= limits.epochs or spent.idle >= _IDLE

    return Tell(), Enough()


def _last_line(path: str | None) -> str:
    """What an error of a worker says at its end."""
    lines = Path(path).read_text(encoding="utf-8").strip().splitlines() if path and Path(path).exists() else []
    return lines[-1][:300] if lines else "its process was lost"


def _report(result: Mapping[str, Any]) -> Report:
    return Report(**{name: result[name] for name in Report.__dataclass_fields__})
