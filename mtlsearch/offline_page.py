"""HTML pages that fetch nothing: one Jinja environment, which escapes every value, over the package's templates.

`base.html.j2` is the skeleton of every page. A page's own template lies beside the module that fills it.
"""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _environment() -> Environment:
    loader = PackageLoader("mtlsearch", "")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def render(template: str, **values: Any) -> str:
    """The page that `template`, a path below the package, makes of `values`."""
    return _environment().get_template(template).render(values)
