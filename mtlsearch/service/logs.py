"""The server's log on stderr: lines of text, or one JSON object a line."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from mtlsearch.wording import message_line

log = logging.getLogger("mtlsearch.service")


class Text(logging.Formatter):
    """A line with its time; what others sent is shown without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        about = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        line = f"{_time(record)} {about}{message_line(record.getMessage(), 2000)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def set_up(kind: str) -> None:
    """Send the server's log, and uvicorn's errors, to stderr as "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if kind == "json" else Text())
    for name, level in (("mtlsearch.service", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
