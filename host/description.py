"""Any value a graph hangs on a model, as JSON without addresses, paths or load state.

ComfyUI's nodes put tensors, adapters, functions and closures on a MODEL. Two values that compute the same from the
same parameters must describe alike in every session, and differ when a parameter differs.
"""

import functools
import hashlib
import json
import os
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch

_DEEPEST = 24


def fingerprint(value: Any) -> str:
    """Return the SHA-256 (hex) of the description of `value`."""
    return hashlib.sha256(json.dumps(describe(value), sort_keys=True).encode()).hexdigest()


def describe(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Return `value` as JSON: tensors as hashes, functions by name with what they close over, objects by their data.

    Networks and patchers are told by class: their weights have an identity of their own, and their load state is
    nobody's. above: ids of the values this one is part of; a value inside itself is told by class.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        return os.path.basename(text) if os.path.isabs(text) else text
    if isinstance(value, torch.Tensor):
        return {"tensor": tensor_hash(value)}
    if isinstance(value, Enum):
        return f"{_name(type(value))}.{value.name}"
    if isinstance(value, torch.dtype | type):
        return str(value) if isinstance(value, torch.dtype) else _name(value)
    if isinstance(value, torch.device):
        return "device"
    if id(value) in above or len(above) > _DEEPEST:
        return {"class": _name(type(value))}
    return _describe_compound(value, (*above, id(value)))


def _describe_compound(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, dict):
        return {"items": _in_order([describe(key, above), describe(part, above)] for key, part in value.items())}
    if isinstance(value, set | frozenset):
        return {"set": _in_order(describe(part, above) for part in value)}
    if isinstance(value, list | tuple):
        return [describe(part, above) for part in value]
    if isinstance(value, functools.partial):
        return {"partial": describe([value.func, value.args, value.keywords], above)}
    if isinstance(value, MethodType):
        return {"method": value.__func__.__qualname__, "of": describe(value.__self__, above)}
    if isinstance(value, FunctionType):
        return _describe_function(value, above)
    if isinstance(value, BuiltinFunctionType):
        return {"function": _function_name(value)}
    return _describe_object(value, above)


def _in_order(parts: Any) -> list[Any]:
    return sorted(parts, key=lambda part: json.dumps(part, sort_keys=True))


def _describe_function(function: FunctionType, above: tuple[int, ...]) -> Any:
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    closed = {name: describe(_content(cell), above) for name, cell in cells.items()}
    defaults = describe([function.__defaults__, function.__kwdefaults__], above)
    return {"function": _function_name(function), "closure": closed, "defaults": defaults}


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return None


def _describe_object(value: Any, above: tuple[int, ...]) -> Any:
    """Return class and data of an object; NumPy arrays and the like as a hash of their bytes."""
    name = _name(type(value))
    if isinstance(value, torch.nn.Module) or hasattr(value, "cached_patcher_init"):
        return {"class": name}
    if isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "__array_interface__"):
        return {"class": name, "bytes": hashlib.sha256(bytes(memoryview(value).cast("B"))).hexdigest()}
    data = {key: part for key, part in _attributes(value).items() if _is_data(part)}
    return {"class": name, "data": describe(data, above)}


def _attributes(value: Any) -> dict[str, Any]:
    slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
    found = {name: getattr(value, name) for name in slots if isinstance(name, str) and hasattr(value, name)}
    return found | getattr(value, "__dict__", {})


def _is_data(value: Any) -> bool:
    """Say whether an attribute is a parameter; None and a network's methods come and go as an object is put to use."""
    method_of_network = isinstance(value, MethodType) and isinstance(value.__self__, torch.nn.Module)
    return value is not None and not method_of_network and not isinstance(value, torch.nn.Module)


def _name(cls: type) -> str:
    """Return module and name of a class; packs are loaded under their path, of which only the end is told."""
    return f"{os.path.basename(cls.__module__)}.{cls.__qualname__}"


def _function_name(function: Any) -> str:
    return f"{os.path.basename(function.__module__ or '')}.{function.__qualname__}"


def tensor_hash(tensor: torch.Tensor) -> str:
    """Return the SHA-256 (hex) over dtype, shape and bytes of a tensor, wherever it is."""
    plain = tensor.detach().to("cpu").contiguous()
    digest = hashlib.sha256(f"{plain.dtype}{tuple(plain.shape)}".encode())
    digest.update(plain.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
