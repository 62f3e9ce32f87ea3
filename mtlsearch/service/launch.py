"""The first breath of a search's process: it takes the search, then becomes `mtlsearch run`.

    python -m mtlsearch.service.launch ID SECRET -- run digits --trials=100 …

The owner that it writes into the queue is the process that trains: `exec` keeps the process id and the start time. So
a server that is killed between starting a process and noting its id loses nothing, and begins no search twice.
The store's URL comes from the environment, since it may hold a password.
"""

import os
import sys

from mtlsearch.errors import MtlsearchError
from mtlsearch.processes import this_process
from mtlsearch.terminal import notice

NOT_BEGUN = 75  # the status of a launch that found the search taken, or stopped


def main() -> None:
    search_id, secret, _, *command = sys.argv[1:]
    from mtlsearch.service.queue import Queue

    try:
        queue = Queue(os.environ["MTLSEARCH_STORAGE"])
        is_begun = queue.begin(int(search_id), secret, this_process())
        queue.close()
    except MtlsearchError as error:
        notice(str(error))
        sys.exit(NOT_BEGUN)
    if not is_begun:
        sys.exit(NOT_BEGUN)
    os.execv(sys.executable, [sys.executable, "-m", "mtlsearch", *command])


if __name__ == "__main__":
    main()
