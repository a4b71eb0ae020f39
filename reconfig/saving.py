"""Networks as safetensors files that carry their plan: no pickle, so reading one executes nothing.

    reconfig.save(robust, "robust.safetensors", plan)
    robust = reconfig.load("robust.safetensors", zoo.wrn34_10)

A file holds every tensor of the state dict once, under its first name, and in its metadata the version of reconfig and
the plan's JSON. It is checked against its plan before anything is allocated.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reconfig.errors import ExportError, ReconfigError
from reconfig.planning.plan import Plan
from reconfig.trace.example import check_not_scripted
from reconfig.trace.skeleton import tensors_of
from reconfig.version import VERSION
from reconfig.writing import whole

_VERSION, _PLAN, _DIGEST = "reconfig", "plan", "plan_sha256"  # keys of the metadata
_NO_PLAN = "none"  # the network is as its factory makes it
_SHOWN = 5

Signature = tuple[str, tuple[int, ...]]  # dtype and shape
_DTYPES = {  # as safetensors writes them
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def save(model: nn.Module, path: str | os.PathLike[str], plan: Plan | None = None) -> None:
    """Write the tensors of ``model``, and the plan that made it, as a safetensors file; whole or not at all.

    Args:
        model: the network that ``plan.apply`` returned, trained or not, on any device. Tensors that it shares are
            written once.
        path: the file; one that exists is replaced.
        plan: None for a network that is as its factory makes it.

    Raises:
        ExportError: where the network is not of the plan's shapes, or its state is not tensors alone.
        ModelError: where it or a part of it is scripted.
    """
    safetensors = _safetensors()
    if not isinstance(model, nn.Module):
        raise ExportError(f"save takes a network, not {type(model).__name__}: reconfig.save(model, path, plan)")
    if plan is not None and not isinstance(plan, Plan):
        raise ExportError(f"plan is {type(plan).__name__}: pass what reconfig.plan(model, ...) returned, or None")
    check_not_scripted(model)
    tensors = {name: _dense(name, tensor) for name, tensor in _saved(model).items()}
    if plan is not None:
        found = {name: tuple(tensor.shape) for name, tensor in tensors_of(model)}
        _same(found, plan.after, "the network is not what its plan makes", "the network", "the plan")
    text = _NO_PLAN if plan is None else plan.to_json()
    metadata = {_VERSION: VERSION, _PLAN: text, _DIGEST: _digest(text)}
    try:
        with whole(Path(path)) as unfinished:
            safetensors.torch.save_file(tensors, unfinished, metadata)
    except safetensors.SafetensorError as error:
        raise ExportError(f"cannot write {path}: {error}") from error


def load(path: str | os.PathLike[str], factory: Callable[[], nn.Module]) -> nn.Module:
    """The network of a file that ``save`` wrote: ``factory()``, its plan applied, its tensors loaded.

    Args:
        path: the file.
        factory: makes the original network, as ``save``'s plan was made for, e.g. ``zoo.wrn34_10``; the result has
            its device and modes.

    Raises:
        ExportError: where the file is missing, truncated, of another kind or without a plan; where the plan was
            altered, or does not belong to the tensors; where the factory makes no network, or one of another
            architecture. The message names the tensors that differ. Nothing in the file is executed.
        ModelError: where what the factory makes, or a part of it, is scripted.
    """
    if not callable(factory) or isinstance(factory, nn.Module):
        given = "a network" if isinstance(factory, nn.Module) else repr(factory)
        raise ExportError(f"factory is {given}, not a function that makes one: reconfig.load(path, zoo.wrn34_10)")
    with _open(path) as file:
        plan = _plan(path, file.metadata())
        signatures = {name: _signature(file, name) for name in file.keys()}  # noqa: SIM118
        if plan is not None:
            _belongs(path, plan, signatures)
        original = factory()
        if not isinstance(original, nn.Module):
            made = type(original).__name__
            raise ExportError(f"factory returned {made}, not a network: reconfig.load(path, lambda: Net(...))")
        check_not_scripted(original)
        another = f"{path} is of another architecture than the factory makes"
        if plan is not None:
            shapes = {name: tuple(tensor.shape) for name, tensor in tensors_of(original)}
            _same(plan.before, shapes, another, "the plan", "the network")
        model = original if plan is None else _apply(path, plan, original)
        wanted = _saved(model)
        _same(
            signatures,
            {
                name: (_DTYPES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))
                for name, tensor in wanted.items()
            },
            another,
            "the file",
            "the network",
        )
        with torch.no_grad():
            for name, tensor in wanted.items():
                tensor.copy_(file.get_tensor(name))
    return model


def stored_plan(path: str | os.PathLike[str]) -> Plan | None:
    """The plan in a file that ``save`` wrote; None where it was written without one.

    Raises:
        ExportError: where the file is missing, truncated, of another kind or without a plan, or the plan was altered.
    """
    with _open(path) as file:
        return _plan(path, file.metadata())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ExportError(
            "files with plans are written by safetensors, which is not installed: pip install 'robust-reconfig[export]'"
        ) from error
    return safetensors


def _saved(model: nn.Module) -> dict[str, Tensor]:
    """What the state dict of ``model`` holds: shared tensors once, under their first names; the tensors themselves."""
    state = model.state_dict()
    extra = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if extra:
        raise ExportError(
            f"{extra[0]} is no tensor but {type(state[extra[0]]).__name__}, which safetensors cannot hold"
        )
    return {name: tensor for name, tensor in tensors_of(model) if name in state}


def _dense(name: str, tensor: Tensor) -> Tensor:
    """The tensor alone in its memory, as safetensors needs it."""
    if tensor.is_meta or tensor.layout != torch.strided:
        raise ExportError(f"{name} has no memory to save ({tensor.device}, {tensor.layout}); materialise the network")
    dense = tensor.detach().cpu().contiguous()
    return dense if dense.untyped_storage().nbytes() == dense.nbytes else dense.clone()


def _open(path: str | os.PathLike[str]) -> Any:
    safetensors = _safetensors()
    try:
        return safetensors.safe_open(os.fspath(path), framework="pt", device="cpu")
    except FileNotFoundError as error:
        raise ExportError(f"{path} is missing") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise ExportError(f"{path} is truncated, altered or no safetensors file: {error}") from error


def _plan(path: str | os.PathLike[str], metadata: Mapping[str, str] | None) -> Plan | None:
    if not metadata or _VERSION not in metadata or _PLAN not in metadata:
        raise ExportError(
            f"{path} carries no plan, so reconfig did not write it: reconfig.save(model, path, plan) does"
        )
    text = metadata[_PLAN]
    if metadata.get(_DIGEST) != _digest(text):
        raise ExportError(f"the plan in {path} was altered: its checksum does not match")
    try:
        return None if text == _NO_PLAN else Plan.from_json(text)
    except (ReconfigError, RecursionError) as error:
        raise ExportError(f"the plan in {path} was altered: {error}") from error


def _signature(file: Any, name: str) -> Signature:
    part = file.get_slice(name)
    return part.get_dtype(), tuple(part.get_shape())


def _belongs(path: str | os.PathLike[str], plan: Plan, signatures: Mapping[str, Signature]) -> None:
    """See that the plan makes the tensors in the file, before it makes any."""
    missing = signatures.keys() - plan.after.keys()
    if missing:
        raise ExportError(f"the plan in {path} was altered: it has no {min(missing)}, which the file holds")
    _same(
        {name: shape for name, (_, shape) in signatures.items()},
        {name: tuple(plan.after[name]) for name in signatures},
        f"the plan in {path} was altered",
        "the file",
        "the plan",
    )


def _apply(path: str | os.PathLike[str], plan: Plan, original: nn.Module) -> nn.Module:
    try:
        return plan.apply(original)
    except ReconfigError as error:
        raise ExportError(f"{path} does not fit what the factory makes: {error}") from error
    except Exception as error:  # a plan that somebody altered says anything
        raise ExportError(
            f"the plan in {path} was altered, it cannot be applied: {type(error).__name__}: {error}"
        ) from error


def _same(found: Mapping[str, object], wanted: Mapping[str, object], what: str, ours: str, theirs: str) -> None:
    """See that two sets of tensors are alike; the message names those that are not."""
    differ = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    if differ:
        some = "; ".join(
            f"{name} is {_shown(found.get(name))} in {ours} and {_shown(wanted.get(name))} in {theirs}"
            for name in differ[:_SHOWN]
        )
        more = f"; and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else ""
        raise ExportError(f"{what}: {some}{more}")


def _shown(signature: object) -> str:
    return "missing" if signature is None else str(signature).replace("'", "")
