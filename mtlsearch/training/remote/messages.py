"""Messages between a driver and the workers that it started, pickled: the one place where mtlsearch unpickles.

They come over a pipe or through Ray from a process that runs the same user's code, and never from a file.
"""

import io
import pickle
from typing import Any

import cloudpickle

PROTOCOL = 5  # of pickle


def encoded(value: Any) -> bytes:
    """A message as bytes."""
    return pickle.dumps(value, protocol=PROTOCOL)


def decoded(content: bytes) -> Any:
    """The message in bytes of `encoded`."""
    return pickle.loads(content)


def portable(error: Exception) -> Exception:
    """The error, or where it cannot be sent one of the same words."""
    try:
        decoded(encoded(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class CodePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles by value the functions and classes that no other process can import."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=PROTOCOL)


class CodeUnpickler(pickle.Unpickler):
    """Reads what a `CodePickler` has written."""
