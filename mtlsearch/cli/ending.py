"""The end of a command: its exit status, and one line on stderr where it failed."""

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from mtlsearch.cli.interrupt import INTERRUPTED
from mtlsearch.errors import MtlsearchError, one_line
from mtlsearch.terminal import notice
from mtlsearch.wording import message_line

NO_MEMORY = ("can't allocate memory", "out of memory")  # torch's words, on a CPU and on CUDA


def status_of(command: Callable[[], Any]) -> int:
    """Call a command; its exit status. An error that a user can mend is told in one line, a defect is raised."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a letter that this terminal does not know is shown as \x…
    try:
        return _flushed(command)
    except NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        notice(_usage(error))
        return error.exit_code
    except MtlsearchError as error:
        notice(str(error))
        return error.exit_status
    except (KeyboardInterrupt, click.Abort):
        notice("interrupted")
        return INTERRUPTED
    except (MemoryError, RuntimeError, OSError) as error:
        line = _told(error)
        if line is None:
            raise
        notice(line)
        return MtlsearchError.exit_status


def _told(error: BaseException) -> str | None:
    """The line for an error of the machine that it is plain what to do about; None for any other."""
    if _is_out_of_memory(error):
        reason = message_line(one_line(error), 200)
        return f"no memory is left ({reason}): train fewer trials at once (--population), or smaller models"
    if isinstance(error, OSError) and _stdout_fails():
        forget_stdout()
        reason = error.strerror or str(error)
        return f"stdout cannot be written ({reason}): free some space, or send the result elsewhere"
    return None


def _flushed(command: Callable[[], Any]) -> int:
    """The status of a command all of whose output is written."""
    try:
        status = command()
        return status if isinstance(status, int) else 0
    finally:
        sys.stdout.flush()


def _usage(error: click.ClickException) -> str:
    """click's message of wrong usage, with the place of help."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message}; see `{context.command_path} --help`"


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, or torch on a CPU or a GPU, had no memory left."""
    # By its words, since importing torch would slow every command down.
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


def _stdout_fails() -> bool:
    """Whether it was stdout that an OSError came from: it does not even take a line break."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def forget_stdout() -> None:
    """Send what is left of stdout nowhere: writing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
