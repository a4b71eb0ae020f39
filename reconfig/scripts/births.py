"""Where the networks of a script were made, and which are still being made."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from types import FrameType

from torch import nn

from reconfig.scripts.chosen import Chosen
from reconfig.scripts.frames import Place, in_main, is_own_code, place_of, stack
from reconfig.scripts.identity import ByIdentity

_FACTORIES = {  # of other people, by module: what makes a whole network
    "timm.models._factory": ("create_model",),
    "torchvision.models._api": ("get_model",),
    "torch.hub": ("load",),
}
_SPAWNING = ("_fixup_main_from_path", "_fixup_main_from_name")  # of multiprocessing.spawn: it imports the script again


@dataclass(frozen=True)
class Birth:
    """How a module was made.

    Attributes:
        order: modules that were made later have larger numbers.
        inner: whether it was made while another module's ``__init__`` ran.
        places: lines of the user's that made it: the innermost, and the script's own.
        factory: the function of a library that made it, as in "timm.create_model", or "".
        chosen: whether a function that the user named made it.
    """

    order: int
    inner: bool
    places: tuple[Place, ...]
    factory: str
    chosen: bool

    def __str__(self) -> str:
        by = f" by {self.factory}" if self.factory else ""
        if not self.places:
            return f"made{by}"
        first, *others = self.places
        of = f" in {first.function}" if first.function and others else ""
        return f"made at {first}{of}" + "".join(f", called from {place}" for place in others) + by


class Births:
    """Notes how each module was made, when its ``__init__`` begins."""

    def __init__(self, chosen: Chosen | None) -> None:
        self._chosen = chosen
        self._order = count()
        self._births: ByIdentity[Birth] = ByIdentity()

    def get(self, module: nn.Module) -> Birth | None:
        """How ``module`` was made; None for one that was copied or unpickled."""
        return self._births.get(module)

    def note(self, module: nn.Module, frame: FrameType | None) -> None:
        """``module`` is being made, by what led to ``frame``."""
        if module in self._births:  # an __init__ that runs twice
            return
        inner, factory, chosen = False, "", False
        first: Place | None = None
        script: Place | None = None
        for outer in stack(frame):
            made = _makes(outer)
            if made is module:
                continue
            if first is None and is_own_code(outer):
                first = place_of(outer)
            if made is not None:
                inner = True
                break
            factory = _factory(outer) or factory
            chosen = chosen or (self._chosen is not None and self._chosen.is_made_by(outer))
            if in_main(outer):
                script = place_of(outer)
        places = tuple(dict.fromkeys(place for place in (first, script) if place is not None))
        self._births[module] = Birth(next(self._order), inner, places, factory, chosen)

    def unfinished(self, frame: FrameType | None) -> dict[int, nn.Module]:
        """Modules whose ``__init__`` runs, by identity."""
        return {id(made): made for outer in stack(frame) if (made := _makes(outer)) is not None}

    def in_the_making(self, module: nn.Module, frame: FrameType | None) -> bool:
        """Whether something that has begun will make more of ``module``, or of what holds it.

        A factory, the ``__init__`` of a module that was begun before ``module`` was, or the import of the script in a
        process that it spawned (whose module-level networks are none that it trains).
        """
        own = self.get(module)
        for outer in stack(frame):
            made = _makes(outer)
            if made is not None:
                begun = self.get(made)
                if made is module or begun is None or (own is not None and own.order > begun.order):
                    return True
            elif self._makes_networks(outer) or _imports_again(outer):
                return True
        return False

    def _makes_networks(self, frame: FrameType) -> bool:
        return bool(_factory(frame)) or (self._chosen is not None and self._chosen.is_made_by(frame))


def _imports_again(frame: FrameType) -> bool:
    """Whether this frame imports the script in a process that it spawned."""
    return frame.f_code.co_name in _SPAWNING and frame.f_globals.get("__name__") == "multiprocessing.spawn"


def _makes(frame: FrameType) -> nn.Module | None:
    """The module whose ``__init__`` this frame is."""
    code = frame.f_code
    if code.co_name != "__init__" or not code.co_argcount:
        return None
    first = frame.f_locals.get(code.co_varnames[0])
    return first if isinstance(first, nn.Module) else None


def _factory(frame: FrameType) -> str:
    """The name of the library's function that this frame is, where it makes networks."""
    module, code = frame.f_globals.get("__name__", ""), frame.f_code
    if code.co_name in _FACTORIES.get(module, ()):
        return f"{module.partition('.')[0]}.{'hub.' if module == 'torch.hub' else ''}{code.co_name}"
    builder = module.startswith("torchvision.models.") and code.co_qualname == code.co_name
    if builder and not code.co_name.startswith(("_", "<")) and module not in _HELPERS:
        return f"torchvision.models.{code.co_name}"
    return ""


_HELPERS = ("torchvision.models._utils", "torchvision.models.feature_extraction")
