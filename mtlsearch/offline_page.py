"""The parts that every offline HTML page shares."""

import html


def escaped(value: object) -> str:
    """A user's text for HTML: nothing in it is markup."""
    return html.escape(str(value))


def json_text(text: str) -> str:
    """JSON that cannot end the element that it stands in."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
