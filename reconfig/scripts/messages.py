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


def found(network: Network, how: str, place: Place | None) -> str:
    """The network is there, and how it was found."""
    return f"reconfig: {network}; found {how}" + (f" at {place}" if place else "")


def rewritten(network: Network, plan: Plan) -> str:
    """It was rewritten."""
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


def several(job: Job, networks: Sequence[Network]) -> str:
    """There are several, and none is named."""
    lines = [f"  {network}: --model {network.choice}" for network in networks]
    return (
        f"the script makes {len(networks)} networks, and none was trained yet:\n"
        + "\n".join(lines)
        + f"\nname the one that is meant; the others stay as they are, as in\n  {job.corrected(networks[-1].choice)}"
    )


def several_of_choice(networks: Sequence[Network]) -> str:
    """What the user named makes several."""
    lines = [f"  {network}" for network in networks]
    return (
        "what --model names makes networks of several architectures:\n"
        + "\n".join(lines)
        + "\nname the function that makes the one that is meant, as in --model models.resnet:ResNet18"
    )


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
    lines = [f"  {network}: --model {network.choice}" for network in others]
    return (
        f"nothing that --model {job.chosen} names made a network; these were made:\n"
        + "\n".join(lines)
        + f"\nas in\n  {job.corrected(others[0].choice)}"
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
        f"the script loads weights of the original network{where}, after the network was rewritten: they fit no longer. "
        "Load them before the network is moved or its parameters are read, and pass --weights inherit; or leave the "
        "loading out"
    )


def stale(optimizer: str, networks: Sequence[Network]) -> str:
    """An optimizer has parameters that no network has any more."""
    names = ", ".join(f"{network}: --model {network.choice}" for network in networks)
    return (
        f"an optimizer ({optimizer}) holds parameters that the network had before it was rewritten, so it would train "
        f"nothing: the script took them before reconfig could see it. Name the network's class, which is rewritten as "
        f"soon as it is made ({names})"
    )
