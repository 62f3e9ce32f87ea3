"""On its own host a process is known exactly to live or to be dead."""

import os
import subprocess
import sys
import time

from mtlsearch.processes import is_alive, is_here, this_process


def ended_process() -> int:
    """The id of a process that has ended and been looked at."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_this_process_is_here_and_alive() -> None:
    owner = this_process()
    assert owner["pid"] == os.getpid()
    assert is_here(owner)
    assert is_alive(owner)


def test_a_process_that_ended_is_dead() -> None:
    assert not is_alive({**this_process(), "pid": ended_process()})


def test_another_start_of_the_same_process_id_is_dead() -> None:
    assert not is_alive({**this_process(), "started": this_process()["started"] - 1})


def test_the_same_process_id_of_another_boot_is_dead() -> None:
    assert not is_alive({**this_process(), "boot_id": "another"})


def test_an_owner_of_another_host_is_not_here() -> None:
    assert not is_here({**this_process(), "host": "elsewhere"})


def test_an_owner_that_says_nothing_is_neither_here_nor_alive() -> None:
    assert not is_here({})
    assert not is_alive({})


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "print(open('/proc/self/stat').read())"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    started = int(process.stdout.read().decode().rpartition(")")[2].split()[19])
    # Its output is closed, so it ends now; it stays a zombie until it is waited for.
    deadline = time.monotonic() + 10
    owner = {**this_process(), "pid": process.pid, "started": started}
    while is_alive(owner) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.path.exists(f"/proc/{process.pid}")  # noqa: PTH110
    assert not is_alive(owner)
    process.communicate()


def test_a_forked_process_is_an_owner_of_its_own() -> None:
    code = (
        "import os; from mtlsearch.processes import this_process; this_process()\n"
        "pid = os.fork()\n"
        "if pid: os.waitpid(pid, 0)\n"
        "else: print(this_process()['pid'] == os.getpid(), flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]
