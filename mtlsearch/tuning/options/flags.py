"""How an option is declared: a field with its flag, bounds and help, checked when a command's options are made."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, dataclass_transform

from mtlsearch.errors import UsageError
from mtlsearch.files import check_path
from mtlsearch.wording import shortened

T = TypeVar("T")


class Flag(NamedTuple):
    """An option on the command line.

    `names` are its flags. `low` and `high` bound the value; with `above`, `low` itself is excluded. `choices` are all
    values. A `listed` option takes names separated by commas. One of `pairs` takes NAME=VALUE and may be repeated.
    `default` says in words what None stands for. A text has at most `longest` letters. `here` tells that `high`
    depends on the machine. With `auto`, that word stands for None. A `local` option is a matter of the machine that the
    command runs on, so that no client of a server can give it. A `repeated` option may be given several times.
    """

    names: tuple[str, ...]
    help: str
    low: float | None = None
    high: float | None = None
    above: bool = False
    choices: tuple[str, ...] = ()
    envvar: str | None = None
    metavar: str | None = None
    listed: bool = False
    pairs: bool = False
    default: str | None = None
    longest: int | None = None
    here: bool = False
    auto: bool = False
    local: bool = False
    repeated: bool = False


def option(value: Any, *names: str, **about: Any) -> Any:
    """A field of an options class: its default `value`, and the `Flag` that gives it another one."""
    return field(default=value, metadata={"flag": Flag(names, **about)})


@dataclass_transform(kw_only_default=True, field_specifiers=(option, field))
def options(kind: type[T]) -> type[T]:
    """Make a dataclass of a command's options with a constructor alone: each other method would slow `--help` down."""
    return dataclass(kw_only=True, repr=False, eq=False, match_args=False)(kind)


@dataclass_transform(kw_only_default=True, field_specifiers=(option, field))
def group(kind: type[T]) -> type[T]:
    """Make a dataclass of options that several commands share; it needs not even a constructor."""
    return dataclass(kw_only=True, repr=False, eq=False, match_args=False, init=False)(kind)


@group
class Options:
    """Checks every value against the bounds of its flag."""

    def __post_init__(self) -> None:
        for each in fields(self):
            flag: Flag | None = each.metadata.get("flag")
            if flag is not None and flag.auto and getattr(self, each.name) == "auto":
                setattr(self, each.name, None)
            value = getattr(self, each.name)
            if flag is not None:
                check(each.name, flag, value)
            if isinstance(value, Path):
                check_path(value)


def check(name: str, flag: Flag, value: Any) -> None:
    """Raise UsageError where the value of option `name` lies outside its bounds."""
    if value is None:
        return
    if flag.longest is not None and not (0 < len(value) <= flag.longest and is_text(value)):
        rule = f"{name} must be 1 to {flag.longest} letters of Unicode"
        raise UsageError(f"{rule}, but got {len(value)} letters: {shortened(value, 60)!r}")
    if flag.choices and value not in flag.choices:
        raise UsageError(f"{name} must be {', '.join(flag.choices)}, but got {value!r}")
    if flag.low is not None and not (value > flag.low if flag.above else value >= flag.low):
        rule = f"above {flag.low}" if flag.above else f"{flag.low} or more"
        raise UsageError(f"{name} must be {rule}, but got {shortened(value, 60)}")
    if flag.high is not None and not value <= flag.high:
        here = " on this machine" if flag.here else ""
        raise UsageError(f"{name} must be {flag.high} or less{here}, but got {shortened(value, 60)}")


def is_text(text: str) -> bool:
    """Whether a text can be stored: a null cannot, nor a lone surrogate, as of an argument that is no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
