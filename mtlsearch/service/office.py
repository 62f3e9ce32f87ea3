"""What is done for a request, whether it comes from the API or from a page: submit, stop, go on, delete, look up."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtlsearch.errors import MtlsearchError, UsageError
from mtlsearch.service.board import Board
from mtlsearch.service.folder import Folder
from mtlsearch.service.machine import Machine
from mtlsearch.service.queue import STOP, Conflict, Queue, Search
from mtlsearch.service.results import Results
from mtlsearch.service.scheduler import Scheduler
from mtlsearch.service.submission import Submission, check_name, check_options, given_options
from mtlsearch.service.views import SearchView, view
from mtlsearch.store.database.opening import open_storage
from mtlsearch.store.deleting import delete_study

MOST_TEXTS = 2000


class Missing(MtlsearchError):
    """There is no such search."""


@dataclass(frozen=True)
class Office:
    """The parts of a server, and what they do together."""

    storage: str
    queue: Queue
    folder: Folder
    machine: Machine
    scheduler: Scheduler
    board: Board
    results: Results
    texts: "OrderedDict[int, tuple[object, str]]" = field(default_factory=OrderedDict)  # of searches that have ended

    def find(self, search_id: int) -> Search:
        """The search with that id. Raises Missing."""
        found = self.queue.get(search_id)
        if found is None:
            raise Missing(f"there is no search {search_id}: GET /api/v1/searches lists them")
        return found

    def show(self, search: Search) -> SearchView:
        """A search with its latest progress."""
        on_board = self.board.views.get(search.id)
        if on_board is None or not search.is_active or search.state != on_board.state:
            return view(search)
        return on_board

    def text(self, search: Search) -> str:
        """A search in a list as JSON; that of one that has ended is kept, since lists are asked for often."""
        if search.is_active:
            return self.show(search).model_dump_json(exclude={"curve"})
        key = search.state, search.ended, search.options
        kept = self.texts.pop(search.id, None)
        text = kept[1] if kept is not None and kept[0] == key else view(search).model_dump_json(exclude={"curve"})
        self.texts[search.id] = key, text
        while len(self.texts) > MOST_TEXTS:
            self.texts.popitem(last=False)
        return text

    def submit(
        self, kind: str, study: str, name: str | None, request: Submission, key: str | None
    ) -> tuple[Search, bool]:
        """Queue a search; with whether it is new. Raises UsageError for what could not run here, Conflict."""
        options = given_options(request)
        check_options(kind, options)
        self.machine.studies.argument(study)
        device = str(options.get("device", "auto"))
        if not self.machine.slots(device):
            raise UsageError(f"this server has no device {device!r}: it has {', '.join(self.machine.devices)}")
        name = check_name(name or self.machine.studies.default_name(study))
        found = self.queue.submit(kind, study, name, options, request.priority, key)
        self.scheduler.wake()
        return found

    def submit_after(self, search_id: int, kind: str, request: Submission, key: str | None) -> tuple[Search, bool]:
        """Queue a confirmation or a comparison of a search's study. Raises Missing, UsageError, Conflict."""
        search = self.find(search_id)
        return self.submit(kind, search.study, search.name, request, key)

    def stop(self, search_id: int) -> Search:
        """Stop a search in order; a second call ends it at once. Raises Missing, Conflict."""
        search = self.find(search_id)
        if self.queue.stop_queued(search_id) or self.queue.want(search_id, STOP):
            self.scheduler.stop_at_once(search)
            self.scheduler.wake()
            stopped = self.find(search_id)
            if not stopped.is_active:
                self.board.tell(stopped, stopped.progress)
            return stopped
        raise Conflict(f"search {search_id} is {search.state}: there is nothing to stop")

    def go_on(self, search_id: int, changes: Mapping[str, Any]) -> Search:
        """Put a search that has ended back into the queue, with these changes of its options. Raises Missing, …"""
        search = self.find(search_id)
        options = {**search.options, **changes}
        check_options(search.kind, options)
        if not self.queue.queue_again(search_id, options):
            raise Conflict(f"search {search_id} is {search.state}: it goes on by itself")
        self.scheduler.wake()
        return self.find(search_id)

    def what_goes(self, search: Search) -> str:
        """What a deletion takes with it, in words."""
        if self._shared(search):
            return f"search {search.id} and its log; other searches have study {search.name!r}, so its trials stay"
        trials = self.show(search).trials
        return f"search {search.id}, its log, and study {search.name!r} with its {trials} trials and parameters"

    def _shared(self, search: Search) -> Sequence[Search]:
        """The other searches of the same study."""
        return [other for other in self.queue.find(name=search.name) if other.id != search.id]

    def delete(self, search_id: int, confirmed: str | None) -> None:
        """Delete a search that has ended, with its study; `confirmed` is the study's name, as a second asking.

        Raises Missing, Conflict.
        """
        search = self.find(search_id)
        if search.is_active:
            raise Conflict(f"search {search_id} is {search.state}: stop it first")
        if confirmed != search.name:
            what = self.what_goes(search)
            raise Conflict(f"this deletes {what}; to do so, give the study's name as `confirm`")
        if not self._shared(search):
            with open_storage(self.storage, create=True) as storage:
                delete_study(storage, search.name, Path(self.machine.artifacts))
        if not self.queue.delete(search_id):
            raise Conflict(f"search {search_id} has just begun again: stop it first")
        self.folder.remove(search_id)
        self.board.forget(search_id)

    def counts(self) -> Mapping[str, int]:
        """How many searches there are in each state."""
        return self.queue.counts()
