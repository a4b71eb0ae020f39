"""The search for the network, in a running script: what is looked at, and when."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from reconfig.errors import ReconfigError, ScriptError
from reconfig.scripts import messages
from reconfig.scripts.adopt import adopted
from reconfig.scripts.births import Births
from reconfig.scripts.frames import caller
from reconfig.scripts.identity import ByIdentity
from reconfig.scripts.job import Job
from reconfig.scripts.network import Network
from reconfig.scripts.rewriting import Rewriting, Use
from reconfig.scripts.states import fits
from reconfig.scripts.stop import Stop
from reconfig.scripts.tree import convolutional, has_lazy, has_parameters, outermost, parts, unwrapped


class Search:
    """Looks at every module that a script makes or uses, and has the network rewritten before it is used.

    It keeps no module, so that nothing that is hooked into torch leads to a network.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._births = Births(job.chosen)
        self._rewriting = Rewriting(job, self._births)
        self._settled: ByIdentity[bool] = ByIdentity()  # modules that need not be looked at again
        self._stepped: ByIdentity[bool] = ByIdentity()  # optimizers
        self._others: list[Network] = []  # networks that are not the one that the user named
        self._busy = False
        self.stopped: Stop | None = None
        """How the script was ended, where it was."""

    @property
    def has_chosen(self) -> bool:
        """Whether the user has named who makes the network."""
        return self._job.chosen is not None

    def begins(self, module: nn.Module) -> None:
        """``nn.Module.__init__`` is called for ``module``."""
        if not self._busy:
            self._births.note(module, sys._getframe(1))

    def is_chosen_class(self, kind: type) -> bool:
        """Whether the user named the class ``kind``."""
        return self._job.chosen is not None and self._job.chosen.is_kind(kind)

    def made(self, module: nn.Module) -> None:
        """The ``__init__`` of a network of the class that the user named has returned."""
        with self._looking(module) as looking:
            if looking:
                before = list(module.modules())
                self._rewriting.take(module, Use("by --model", module))
                self._settle(module, before)

    def used(self, module: nn.Module, how: str) -> None:
        """The script does with ``module`` what binds others to its parameters; ``how``, in words."""
        with self._looking(module) as looking:
            if looking and not self._births.in_the_making(module, sys._getframe(1)):
                self._look(Use(f"{how} at {caller()}", module))

    def loads(self, module: nn.Module, state: Mapping[str, Any]) -> None:
        """The script loads ``state`` into ``module``."""
        if module in self._settled and not self._busy:
            with self._ending():
                self._rewriting.check_loads(module, state)
        with self._looking(module) as looking:
            if looking and fits(module, state) and self._births.in_the_making(module, sys._getframe(1)):
                self._rewriting.note_weights(module)
            elif looking:
                self._look(Use(f"when it loads weights at {caller()}", module, state))

    def steps(self, optimizer: Any) -> None:
        """An optimizer is about to take a step."""
        if self._busy or optimizer in self._stepped:
            return
        self._stepped[optimizer] = True
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        with self._ending():
            if any(map(self._rewriting.is_stale, trained)):
                raise ScriptError(messages.stale(type(optimizer).__name__, self._rewriting.networks))
            if self._rewriting.networks:
                self._rewriting.trained = True
            elif any(isinstance(item, nn.Parameter) and item.dim() in (3, 4, 5) for item in trained):
                raise self.nothing_found()

    def nothing_found(self) -> ScriptError:
        """Why nothing was rewritten, and what to write."""
        return ScriptError(messages.none(self._job, self._others))

    def _look(self, use: Use) -> None:
        if adopted(use.module) is not None and self._rewriting.networks:
            self._settle(use.module, ())  # a copy
            return
        root = outermost(use.module, self._births.unfinished(sys._getframe(1)))
        if has_lazy(root):
            return  # until it has shapes
        before = list(root.modules())
        waiting = [network for network in self._candidates(root) if not self._rewriting.take(network, use)]
        if not waiting:
            self._settle(root, before)

    def _candidates(self, root: nn.Module) -> Iterator[nn.Module]:
        yield from parts(root, lambda part: adopted(part) is not None)
        if not convolutional(root):
            return
        if self._job.chosen is None:
            yield unwrapped(root)
            return
        chosen = list(parts(root, self._is_chosen))
        if not chosen:
            self._others.append(Network.of(unwrapped(root), self._births.get(unwrapped(root))))
        yield from chosen

    def _is_chosen(self, module: nn.Module) -> bool:
        birth = self._births.get(module)
        return (birth is not None and birth.chosen) or self.is_chosen_class(type(module))

    def _settle(self, root: nn.Module, before: Iterable[nn.Module]) -> None:
        """What was ``before`` in ``root`` may be referred to as well; it shares the state of what is there now."""
        for module in (*before, *root.modules()):
            self._settled[module] = True

    @contextmanager
    def _looking(self, module: nn.Module) -> Iterator[bool]:
        """Whether to look at ``module`` now: not at what we do ourselves, has no weights, or was looked at."""
        if self._busy or module in self._settled or not has_parameters(module):
            yield False
        else:
            with self._ending():
                yield True

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Within, an error of ours ends the script; where the script lives on, it is ended again at the next chance."""
        if self.stopped is not None:
            raise self.stopped
        self._busy = True
        try:
            yield
        except Stop as stop:
            self.stopped = stop
            raise
        except Exception as error:
            self.stopped = Stop(error if isinstance(error, ReconfigError) else ScriptError(messages.failed(error)))
            raise self.stopped from error
        finally:
            self._busy = False
