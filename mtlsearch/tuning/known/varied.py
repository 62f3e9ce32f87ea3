"""A study at hyperparameters or a length that its search did not have, to see whether the weights still pay there."""

from collections.abc import Mapping
from dataclasses import replace

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mtlsearch.errors import UsageError
from mtlsearch.study.space import Value
from mtlsearch.study.study import Study

EPOCHS = "epochs"


def variant_name(settings: Mapping[str, object]) -> str:
    """`hidden=512,epochs=30`, the same whatever the order in which they were given."""
    return ",".join(f"{name}={settings[name]}" for name in sorted(settings))


def varied(study: Study, settings: Mapping[str, object]) -> tuple[Study, dict[str, Value]]:
    """The study at these settings, and the hyperparameters among them. Values may lie outside the space.

    Raises UsageError.
    """
    found: dict[str, Value] = {}
    for name, text in settings.items():
        if name == EPOCHS:
            study = replace(study, epochs=int(_number(name, text, whole=True)))
        elif name in study.default:
            found[name] = _value(name, text, study.space.get(name), study.default[name])
        else:
            known = ", ".join([*study.default, EPOCHS])
            raise UsageError(f"--set {name}={text}: it must be one of {known}; task weights are what is confirmed")
    space = {name: _single(study.space[name], found[name]) if name in found else d for name, d in study.space.items()}
    return replace(study, space=space, default={**study.default, **found}), found


def _value(name: str, text: object, distribution: BaseDistribution | None, default: Value) -> Value:
    if isinstance(distribution, CategoricalDistribution):
        for choice in distribution.choices:
            if str(text) == str(choice):
                return choice
        raise UsageError(f"--set {name}={text}: it must be one of {', '.join(map(str, distribution.choices))}")
    if isinstance(default, str | bool) or default is None:
        return str(text)
    return _number(name, text, whole=isinstance(default, int))


def _number(name: str, text: object, *, whole: bool) -> int | float:
    try:
        number = int(str(text)) if whole else float(str(text))
    except ValueError:
        raise UsageError(f"--set {name}={text}: it must be a {'whole ' * whole}number") from None
    if not 0 <= number < float("inf") or (name == EPOCHS and number < 1):
        raise UsageError(f"--set {name}={text}: it must be {1 if name == EPOCHS else 0} or more")
    return number


def _single(distribution: BaseDistribution, value: Value) -> BaseDistribution:
    """The distribution of this value alone, inside the searched range or not."""
    if isinstance(distribution, CategoricalDistribution):
        return CategoricalDistribution([value])
    if isinstance(distribution, IntDistribution):
        return IntDistribution(int(str(value)), int(str(value)))
    return FloatDistribution(float(str(value)), float(str(value)))
