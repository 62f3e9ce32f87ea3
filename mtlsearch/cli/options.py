"""Flags of the command line, made from the options classes in `tuning.options`, and what else commands share."""

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from functools import wraps
from inspect import get_annotations
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import click

from mtlsearch.files import check_path
from mtlsearch.tuning.options.flags import Flag, Options


class PathType(click.Path):
    """click's path, where a file can have it."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        check_path(Path(os.fsdecode(value)))
        return super().convert(value, parameter, context)


PATH = PathType(path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


def takes(*kinds: type[Options], remote: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take the options of `kinds`: it is called with an instance of each, and others by name.

    A `remote` command leaves out options that are a matter of the machine on which a server runs.
    """
    taken = {kind: [each for each in _ordered(kind) if not (remote and each.metadata["flag"].local)] for kind in kinds}
    arguments = {each.name for kind in kinds for each in fields(kind) if "flag" not in each.metadata}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def call(**values: Any) -> None:
            made = []
            for kind, flagged in taken.items():
                # A bound of this machine says nothing about the server's.
                there = {each.name for each in flagged if remote and each.metadata["flag"].here}
                names = [each.name for each in flagged if each.name not in there]
                names += [] if remote else [each.name for each in fields(kind) if each.name in arguments]
                made.append(kind(**{name: values.pop(name) for name in names}))
                for name in there:
                    setattr(made[-1], name, None if values[name] == "auto" else values[name])
                    del values[name]
            command(*made, **values)

        made: Callable[..., None] = call
        for kind, flagged in reversed(taken.items()):
            hints = get_type_hints(kind, localns={"Study": str})
            for each in reversed(flagged):
                made = _flag(each, hints[each.name])(made)
        return made

    return decorate


def _ordered(kind: type[Options]) -> list["Field[Any]"]:
    """The fields with flags: those of the class itself, then those of its groups."""
    flagged = [each for each in fields(kind) if "flag" in each.metadata]
    own = get_annotations(kind)
    return sorted(flagged, key=lambda each: each.name not in own)


def _flag(each: "Field[Any]", hint: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The click option of one field."""
    flag: Flag = each.metadata["flag"]
    default = each.default if each.default is not MISSING else None
    settings: dict[str, Any] = {
        "help": flag.help,
        "envvar": flag.envvar,
        "show_envvar": flag.envvar is not None,
        "show_default": flag.default or default not in (None, ()),
    }
    if flag.metavar:
        settings["metavar"] = flag.metavar
    if flag.pairs:
        settings |= {"multiple": True, "callback": _pairs}
    elif flag.repeated:
        settings |= {"multiple": True, "default": default or (), "type": PATH, "show_default": False}
    elif flag.listed:
        settings |= {"default": ",".join(default or ()), "callback": _listed}
    elif _plain(hint) is bool and "/" not in flag.names[-1]:
        settings |= {"is_flag": True, "flag_value": not default, "default": default, "show_default": False}
    else:
        settings |= {"default": default, "type": _type(flag, hint)}
    return click.option(*flag.names, each.name, **settings)


def _plain(hint: Any) -> Any:
    """The type that a value has where it is given: without None, and a path for what may be a path."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return Path if Path in kinds else kinds[0]


def _type(flag: Flag, hint: Any) -> Any:
    """The click type of an option's value."""
    kind = _plain(hint)
    if flag.auto:
        return NumberOrAuto(int(flag.low or 1))
    if flag.choices:
        return click.Choice(flag.choices)
    if kind is int and flag.low is not None:  # a bound of this machine is checked by the options class alone
        return click.IntRange(int(flag.low), None if flag.high is None or flag.here else int(flag.high))
    if kind is float and flag.low is not None:
        return click.FloatRange(flag.low, flag.high, min_open=flag.above)
    return PATH if kind is Path else kind


class NumberOrAuto(click.IntRange):
    """A whole number, or the word auto, which stays as it is."""

    def __init__(self, low: int) -> None:
        super().__init__(low)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else super().convert(value, param, ctx)


def _listed(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str] | None:
    """NAME=VALUE, each name with its last value; None where there is none. A task's name may hold an equals sign."""
    pairs = {}
    for value in values:
        name, equals, text = value.rpartition("=")
        if not (name and equals and text):
            raise click.BadParameter(f"it must be NAME=VALUE, but got {value!r}")
        pairs[name] = text
    return pairs or None
