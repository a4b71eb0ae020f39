"""What a run tells its user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconfig.scripts.chosen import Chosen
from reconfig.scripts.frames import Place
from reconfig.scripts.job import Job
from reconfig.scripts.network import Network

if TYPE_CHECKING:
    from reconfig.planning.plan import Plan


def found(network: Network, how: str) -> str:
    """The network is there, and how it was found."""
    return f"reconfig: {network}; found {how}"


def rewritten(network: Network, plan: Plan) -> str:
    """It was rewritten."""
    if plan.before == plan.after:
        return f"reconfig: the plan leaves every shape of {network.name} as it is; the script goes on"
    filled = "its weights inherited" if plan.weights == "inherit" else "its weights drawn anew"
    return f"reconfig: {network.name} is rewritten where it stands, {filled}; the script goes on"


def again(network: Network) -> str:
    """Another of the same architecture was rewritten."""
    return f"reconfig: {network}, is of the same architecture and rewritten by the same plan"


def as_saved(network: Network, said: str) -> str:
    """One that was rewritten when it was saved whole."""
    return f"reconfig: {network.name} was rewritten before it was saved ({said}), and is taken as it is"


def left_alone(network: Network) -> str:
    """One that was made when training had begun."""
    return f"reconfig: {network}, was made after training began, and stays as it is"


def cannot(network: Network, error: Exception) -> str:
    """The network cannot be rewritten."""
    return f"{network}, cannot be rewritten, and the script was stopped before it went on with it: {error}"


def failed(error: Exception) -> str:
    """Something that should not happen."""
    return (
        f"reconfig failed on the script's network, and the script was stopped: {type(error).__name__}: {error}; "
        "name another network with --model, and please report this one"
    )


def several(job: Job, networks: Sequence[Network]) -> str:
    """There are several, and what was named, if anything, does not tell which is meant."""
    named = f"--model {job.chosen} names" if job.chosen else "the script makes"
    return (
        f"{named} {len(networks)} networks of different architectures:\n{_choices(networks)}\n"
        f"name the one that is meant, and the others stay as they are, as in\n  {_corrected(job, networks)}"
    )


def _choices(networks: Sequence[Network]) -> str:
    return "\n".join(f"  {network}: --model {network.choice_among(networks)}" for network in networks)


def _corrected(job: Job, networks: Sequence[Network]) -> str:
    return job.corrected(networks[-1].choice_among(networks))


def none(job: Job, others: Sequence[Network]) -> str:
    """No network was found."""
    if job.chosen is None:
        return (
            "no convolutional network was found in the script: none was moved, copied, loaded or asked for its "
            "parameters as a module; name its class or the function that makes it, as in\n  "
            + job.corrected(Chosen("package.module", "Class"))
        )
    if not others:
        return f"nothing that --model {job.chosen} names made a network: see that the script makes it"
    return (
        f"nothing that --model {job.chosen} names made a network; these were made:\n{_choices(others)}\n"
        f"name one of them, as in\n  {_corrected(job, others)}"
    )


def would_lose_weights(network: Network, loaded: Place | None) -> str:
    """Fresh weights would take the place of loaded ones."""
    where = f" at {loaded}" if loaded else " when it was copied or loaded from a file"
    return (
        f"{network}, got weights{where}, before it could be rewritten, and fresh weights would throw them away: "
        "pass --weights inherit to carry them over, or leave the script's loading out"
    )


def loads_original(place: Place | None) -> str:
    """Weights of the original are loaded into the rewritten network."""
    where = f" at {place}" if place else ""
    return (
        f"the script loads weights of the original network{where}, after the network was rewritten: they do not fit. "
        "Load them before the network is moved or its parameters are read, and pass --weights inherit; or leave the "
        "loading out"
    )


def stale(optimizer: str, networks: Sequence[Network]) -> str:
    """An optimizer has parameters that no network has any more."""
    return (
        f"an optimizer ({optimizer}) holds parameters that the network had before it was rewritten, so it would train "
        "nothing: the script took them before it showed that it uses the network. Name the class, whose networks are "
        "rewritten as soon as they are made:\n" + "\n".join(f"  {item}: --model {item.choice}" for item in networks)
    )
