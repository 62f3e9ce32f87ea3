"""The code of a study's functions as digests, so that a changed one is noticed under the same name.

A digest is of compiled code with its constants, and of what the code refers to: defaults, closures, global constants,
and functions and classes of one's own files. Comments, docstrings, layout and the names of local variables do not
count. Functions of installed packages stand by their names. Bytecode differs between versions of Python, so the
version stands beside the digests, and only digests of one version are compared.
"""

import dis
import functools
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from mtlsearch.tasks.task import Task
from mtlsearch.tasks.term import Term

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBRARIES = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
INSTALLED = {"site-packages", "dist-packages"}
PACKAGE = Path(__file__).parent.parent
CACHED = type(functools.cache(len))
MOST_BYTES = 16 << 20  # of an array among the constants
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, torch.dtype, torch.device)
# Attributes of a class that say where it stands, or that Python makes.
PLACES = {"__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__firstlineno__"}
MADE = {"__annotations__", "__annotate_func__", "__static_attributes__", "__match_args__", "__dataclass_fields__"}


def code_of(functions: Mapping[str, object]) -> dict[str, Any]:
    """The digests of functions by what they are to the study, with the version of Python; library code is left out."""
    own = {what: function for what, function in functions.items() if is_own(function)}
    digests = {id(function): _digest(function) for function in {id(each): each for each in own.values()}.values()}
    return {"python": PYTHON, "of": {what: digests[id(function)] for what, function in own.items()}}


def functions_of(tasks: Iterable[Task | Term], model: object, score: object) -> dict[str, object]:
    """The functions and classes of a study, by what they are to it."""
    found: dict[str, object] = {"model": model, **({"score": score} if callable(score) else {})}
    for task in tasks:
        found[f"kind of {task.name}"] = type(task)
        if isinstance(task, Task):
            found[f"data of {task.name}"] = task.data
        given = {f.name: getattr(task, f.name) for f in fields(task) if f.name not in ("name", "data")}
        found |= {f"{name} of {task.name}": value for name, value in given.items() if callable(value)}
    return found


def is_own(value: object) -> bool:
    """Whether a function, a class or an object's class is neither of Python nor of an installed package."""
    if isinstance(value, functools.partial):
        return is_own(value.func)
    if isinstance(value, MethodType):
        return is_own(value.__func__)
    if isinstance(value, CACHED):
        return is_own(value.__wrapped__)
    if isinstance(value, FunctionType):
        return _is_own_file(value.__code__.co_filename)
    if isinstance(value, ModuleType):
        return _is_own_file(getattr(value, "__file__", None))
    return _is_own_class(value if isinstance(value, type) else type(value))


def _is_own_class(kind: type) -> bool:
    if kind.__module__ in sys.modules and kind.__module__ != "__main__":
        return _is_own_file(getattr(sys.modules[kind.__module__], "__file__", None))
    return True  # of a study file, which is run and not imported, or of a notebook


def _is_own_file(file: str | None) -> bool:
    if file is None or file.startswith("<frozen"):
        return False
    path = Path(file)
    if path.is_relative_to(PACKAGE / "studies"):
        return True
    return not (path.is_relative_to(PACKAGE) or INSTALLED & set(path.parts) or file.startswith(LIBRARIES))


def _digest(value: object) -> str:
    digest = hashlib.sha256()
    for text in _texts(value, set()):
        digest.update(text.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _texts(value: object, seen: set[int]) -> Iterator[str]:
    """The texts that stand for a value; each function, class or object of one's own is described once."""
    if isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, np.ndarray | np.generic | torch.Tensor):
        yield _array(value)
    elif isinstance(value, tuple | list | dict | set | frozenset):
        yield from _container(value, seen)
    elif isinstance(value, CodeType):
        yield from _code(value)
    elif not is_own(value):
        yield _name(value)
    elif id(value) not in seen:
        seen.add(id(value))
        yield from _own(value, seen)


def _own(value: object, seen: set[int]) -> Iterator[str]:
    if isinstance(value, FunctionType):
        yield from _function(value, seen)
    elif isinstance(value, functools.partial):
        yield "partial"
        for part in (value.func, value.args, value.keywords):
            yield from _texts(part, seen)
    elif isinstance(value, MethodType):
        yield from _texts(value.__func__, seen)
        yield from _texts(value.__self__, seen)
    elif isinstance(value, type):
        yield from _class(value, seen)
    elif isinstance(value, ModuleType):
        yield f"module {value.__name__}"
    elif isinstance(value, CACHED):
        yield from _texts(value.__wrapped__, seen)
    else:
        yield from _texts(type(value), seen)
        for name, part in sorted(getattr(value, "__dict__", {}).items()):
            yield name
            yield from _texts(part, seen)


def _function(function: FunctionType, seen: set[int]) -> Iterator[str]:
    code = function.__code__
    yield "function"
    yield from _code(code)
    for default in (function.__defaults__ or (), function.__kwdefaults__ or {}):
        yield from _texts(default, seen)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield name
        try:
            yield from _texts(cell.cell_contents, seen)
        except ValueError:  # an empty cell
            continue
    names = {name for each in _codes(code) for name in each.co_names}
    for name in sorted(names & function.__globals__.keys()):
        if not name.startswith("__"):  # such as __file__
            yield name
            yield from _global(function.__globals__[name], names, seen)


def _global(value: object, names: set[str], seen: set[int]) -> Iterator[str]:
    """A global of a function; of a module of one's own, the attributes that may be meant."""
    yield from _texts(value, seen)
    if isinstance(value, ModuleType) and is_own(value):
        for name in sorted(names & vars(value).keys()):
            yield name
            yield from _texts(vars(value)[name], seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code object, and those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _code(code: CodeType) -> Iterator[str]:
    """Instructions with their constants; neither lines, nor file, nor docstring, nor the names of local variables."""
    arguments = code.co_argcount + code.co_kwonlyargcount
    yield f"{code.co_flags} {code.co_argcount} {code.co_posonlyargcount} {code.co_varnames[:arguments]}"
    for step in dis.get_instructions(code):
        if isinstance(step.argval, CodeType):
            yield from _code(step.argval)
        elif step.opname == "LOAD_CONST":
            yield from _container((step.argval,), set())
        else:
            yield f"{step.opname} {step.arg if 'FAST' in step.opname else step.argval}"
    yield repr(code.co_exceptiontable)


def _class(kind: type, seen: set[int]) -> Iterator[str]:
    yield f"class {kind.__name__}"
    for base in kind.__bases__:
        yield from _texts(base, seen)
    for name, member in sorted(vars(kind).items()):
        if name in PLACES | MADE or name.startswith("_abc"):
            continue
        yield name
        parts = (member.fget, member.fset) if isinstance(member, property) else (getattr(member, "__func__", member),)
        for part in parts:
            yield from _texts(part, seen)


def _container(value: Any, seen: set[int]) -> Iterator[str]:
    """A container with its items; one that is no constant, such as a cache of data, stands by its kind alone."""
    yield type(value).__name__
    if isinstance(value, set | frozenset):
        yield from sorted(" ".join(_texts(item, seen)) for item in value)
        return
    items = [part for pair in value.items() for part in pair] if isinstance(value, dict) else list(value)
    if isinstance(value, tuple) or all(map(_is_constant, items)):
        for item in items:
            yield from _texts(item, seen)


def _is_constant(value: object) -> bool:
    if isinstance(value, tuple | list | dict):
        return all(map(_is_constant, [*value, *value.values()] if isinstance(value, dict) else value))
    return isinstance(value, (*PLAIN, np.generic, FunctionType, type))


def _array(value: Any) -> str:
    tensor = value.detach().cpu() if isinstance(value, torch.Tensor) else None
    array = np.asarray(value) if tensor is None else tensor.contiguous().flatten().view(torch.uint8).numpy()
    about = f"{type(value).__name__} {value.dtype} {tuple(value.shape)}"
    if array.nbytes > MOST_BYTES or array.dtype == object:
        return about
    return f"{about} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"


def _name(value: object) -> str:
    """A value of a library by its name, or by its class's."""
    if isinstance(value, ModuleType):
        return f"module {value.__name__}"
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', '')}"
