"""What may be submitted: the options of `run`, `confirm` and `compare`, as the fields of a request and as arguments.

Both are derived from the options classes of `tuning.options`. Options that are a matter of the machine (its store, its
folders) cannot be given, and neither can an import path: no code and no path comes from the network.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model
from pydantic import Field as PydanticField

from mtlsearch.errors import UsageError
from mtlsearch.service.options import MOST_PRIORITY
from mtlsearch.study.shipped import shipped_studies
from mtlsearch.tuning.options.flags import Flag, Options, is_text
from mtlsearch.tuning.options.groups import LONGEST_NAME, PRUNERS, SAMPLERS
from mtlsearch.tuning.options.training import CompareOptions, ConfirmOptions, RunOptions

KINDS: Mapping[str, type[Options]] = {"run": RunOptions, "confirm": ConfirmOptions, "compare": CompareOptions}
NAMED = {"sampler": SAMPLERS, "pruner": PRUNERS}  # on the command line they take import paths too
LONGEST_TEXT = 4096
LONGEST_STUDY = 1024
DEVICE = r"^(auto|cpu|cuda(:\d{1,3})?)$"
# A name stands in file names and addresses; one with a slash is a study that belongs to another.
NAME = r"^[^/\\\x00-\x1f\x7f]+$"


class Submission(BaseModel):
    """Fields that are no options of the command."""

    model_config = ConfigDict(extra="forbid", strict=True)

    priority: int = PydanticField(
        0, ge=-MOST_PRIORITY, le=MOST_PRIORITY, description="Higher ones begin first; equal ones in their order."
    )


def remote_fields(kind: type[Options]) -> Iterator[tuple["Field[Any]", Flag, Any]]:
    """The options of a command that a client may give: field, flag and type."""
    hints = get_type_hints(kind, localns={"Study": str})
    for each in fields(kind):
        flag: Flag | None = each.metadata.get("flag")
        if flag is not None and not flag.local and Path not in (hints[each.name], *get_args(hints[each.name])):
            yield each, flag, hints[each.name]


@cache
def model_of(kind: str) -> type[Submission]:
    """The model of a request that submits a `kind` of search."""
    made: dict[str, Any] = {}
    for each, flag, hint in remote_fields(KINDS[kind]):
        if kind != "run" and each.name == "name":
            continue  # a confirmation is of the search's own study
        made[each.name] = (_type(each.name, flag, hint), PydanticField(_default(each), **_bounds(each.name, flag)))
    base = SearchSubmission if kind == "run" else Submission
    return create_model(f"{kind.capitalize()}Submission", __base__=base, **made)


class SearchSubmission(Submission):
    """The study of a search."""

    study: str = PydanticField(
        min_length=1,
        max_length=LONGEST_STUDY,
        description="A shipped study, or the path of a file below the server's --studies.",
    )


def _default(each: "Field[Any]") -> Any:
    return list(each.default) if isinstance(each.default, tuple) else each.default


def _type(name: str, flag: Flag, hint: Any) -> Any:
    """The type of a field in a request."""
    choices = NAMED.get(name, flag.choices)
    if choices:
        return Literal[tuple(choices)]
    if flag.pairs:
        return dict[str, str | int | float | bool] | None
    if flag.listed:
        return list[str]
    if get_origin(hint) in (Union, UnionType):
        kinds = [dict[str, float] if get_origin(kind) is not None else kind for kind in get_args(hint)]
        return Union[tuple([*kinds, Literal["auto"]] if flag.auto else kinds)]  # noqa: UP007
    return hint


def _bounds(name: str, flag: Flag) -> dict[str, Any]:
    """What pydantic checks of a field, and its description."""
    told = flag.help if name not in NAMED else f"{', '.join(NAMED[name])}."
    if flag.names[-1].startswith("--no-"):  # its help says what the flag does, and that is to switch it off
        told = f"false: {told[0].lower()}{told[1:]}"
    found: dict[str, Any] = {"description": told + (f" Default: {flag.default}." if flag.default else "")}
    if flag.low is not None and not flag.auto:
        found["gt" if flag.above else "ge"] = flag.low
    if flag.high is not None and not flag.auto:
        found["le"] = flag.high
    if flag.longest is not None:
        found |= {"min_length": 1, "max_length": flag.longest}
    if name == "name":
        found["pattern"] = NAME
    if name == "device":
        found["pattern"] = DEVICE
    return found


def given_options(submission: Submission) -> dict[str, Any]:
    """The options that a request changes. Raises UsageError for one that the command would refuse."""
    known = {each.name for kind in KINDS.values() for each, _, _ in remote_fields(kind)} - {"name"}
    values = {name: value for name, value in submission.model_dump(exclude_unset=True).items() if name in known}
    _check_texts(values)
    return values


def check_options(kind: str, options: Mapping[str, Any]) -> None:
    """Raise UsageError where the command would refuse the options."""
    KINDS[kind](**{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()})
    arguments(kind, options)


def _check_texts(value: Any) -> None:
    if isinstance(value, str) and not (is_text(value) and len(value) <= LONGEST_TEXT):
        raise UsageError(f"a text must be Unicode without null characters, of at most {LONGEST_TEXT} letters")
    if isinstance(value, Mapping):
        for pair in value.items():
            _check_texts(list(pair))
    if isinstance(value, list):
        for each in value:
            _check_texts(each)


# Studies.


@dataclass(frozen=True)
class Studies:
    """The studies that may be searched: the shipped ones, and the files below the `folder` of --studies."""

    folder: Path | None

    def names(self) -> list[str]:
        """Every study by the name that a request gives."""
        own = [] if self.folder is None else sorted(self.folder.rglob("*.py"))
        files = [path.relative_to(self.folder).as_posix() for path in own if self.folder is not None]
        return [*(name for name in files if not _is_hidden(name)), *shipped_studies()]

    def argument(self, study: str) -> str:
        """The STUDY that the command line takes for it. Raises UsageError for any other file."""
        if study in shipped_studies():
            return study
        if self.folder is None:
            raise UsageError(
                f"no study {study!r}: this server has the shipped ones alone ({', '.join(shipped_studies())})"
            )
        try:
            path = (self.folder / study).resolve()
            is_inside = is_text(study) and path.is_relative_to(self.folder.resolve()) and not _is_hidden(study)
            is_there = is_inside and path.suffix == ".py" and path.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, a null, a circle of links
            is_there = False
        if not is_there:
            raise UsageError(f"no study {study!r}: GET /api/v1/studies lists those that this server has")
        return str(path)

    def default_name(self, study: str) -> str:
        """The name that a study has in the store where no other is given."""
        return study if study in shipped_studies() else Path(study).stem


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in Path(name).parts)


def check_name(name: str) -> str:
    """The name of a study in the store. Raises UsageError where it is none that a file's name can hold."""
    if not (re.match(NAME, name) and is_text(name) and name not in (".", "..") and len(name) <= LONGEST_NAME):
        raise UsageError(
            f"a name has 1 to {LONGEST_NAME} letters, without slashes and control characters, but got {name!r}"
        )
    return name


# Arguments.


def arguments(kind: str, options: Mapping[str, Any]) -> list[str]:
    """The options as arguments of the command line. Raises UsageError for a value that these cannot tell."""
    found: list[str] = []
    for each, flag, _ in remote_fields(KINDS[kind]):
        value = options.get(each.name)
        if value is not None and value != _default(each):
            found += _argument(each.name, flag, value)
    return found


def _argument(name: str, flag: Flag, value: Any) -> list[str]:
    long = next(each for each in flag.names if each.startswith("--"))
    if isinstance(value, bool):
        yes, _, no = long.partition("/")
        return [yes if value or not no else no]
    if flag.pairs:
        return [f"{long}={key}={_plain(name, text, '=')}" for key, text in value.items()]
    if flag.listed:
        return [f"{long}={','.join(_plain(name, each, ',') for each in value)}"]
    if isinstance(value, Mapping):  # the score's weights by task
        weights = [f"{_plain(name, task, ',')}={weight}" for task, weight in value.items()]
        return [f"{long}={','.join(weights)}"]
    return [f"{long}={value}"]


def _plain(name: str, value: Any, without: str) -> str:
    text = str(value)
    if without in text or not text:
        raise UsageError(f"{name} must be without {without!r} and not empty, but got {text[:60]!r}")
    return text
