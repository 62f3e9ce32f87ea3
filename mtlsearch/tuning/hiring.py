"""The workers that a command's options ask for, and those that a run starts by itself where that was planned."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from mtlsearch.activity import Interrupted, doing
from mtlsearch.evidence.trainings import find_confirmation
from mtlsearch.limits import CORES, ONE_PROCESS
from mtlsearch.store.record import Record
from mtlsearch.study.study import Study
from mtlsearch.training.device import Conditions, use_device
from mtlsearch.training.remote.devices import named_devices
from mtlsearch.training.remote.processes import Processes
from mtlsearch.training.remote.ray_actors import RayActors, check_cluster
from mtlsearch.training.remote.side_by_side import free_cores
from mtlsearch.training.remote.staff import Staff
from mtlsearch.training.remote.transport import Transport
from mtlsearch.training.remote.worker import threads_each
from mtlsearch.tuning.options.groups import WorkerOptions
from mtlsearch.tuning.options.training import RunOptions
from mtlsearch.tuning.session import Pace, Session
from mtlsearch.wording import message_line


def ready_device(options: WorkerOptions, precision: str) -> Conditions:
    """The conditions of this process: on the device that is named, or on the first one of workers on this machine.

    Raises UsageError for workers that cannot be.
    """
    if options.ray is not None:
        check_cluster(options.ray, options.resources)
    first = options.device if options.devices is None else named_devices(options.devices)[0]
    return use_device(first, options.threads, precision)


@contextmanager
def staffed(session: Session, options: WorkerOptions) -> Iterator[Session]:
    """The session with the workers that its options ask for, as long as the context lasts."""
    transport = transport_of(options, session.conditions)
    if transport is None:
        yield session
        return
    conditions = replace(session.conditions, threads=transport.threads)
    watcher = session.watcher
    with Staff(transport, session.training.stop, watcher.notice) as staff:
        yield replace(session, staff=staff, conditions=conditions)


def transport_of(options: WorkerOptions, conditions: Conditions) -> Transport | None:
    """What starts the workers, None where this process trains."""
    if options.ray is not None:
        threads = conditions.threads
        with doing("connecting to the Ray cluster"):
            return RayActors(options.ray, options.workers, options.resources, threads, conditions.precision)
    if options.devices is None:
        return None
    devices = named_devices(options.devices)
    beside = len(devices) if conditions.device.type == "cpu" else 1
    return Processes(devices, threads_each(conditions.threads, beside, CORES), conditions.precision)


def most_workers(options: RunOptions, conditions: Conditions) -> int:
    """The most workers of one thread each that a run may start by itself; 1 where it trains in this process.

    A study that is defined in Python may change what it holds while it trains, so it stays in this process.
    """
    told = (options.devices, options.ray, options.population, os.environ.get(ONE_PROCESS))
    if any(told) or options.device != "auto" or isinstance(options.study, Study) or conditions.device.type != "cpu":
        return 1
    return min(options.threads or CORES, free_cores(CORES))


@contextmanager
def side_by_side(session: Session, options: RunOptions) -> Iterator[Session]:
    """The session with the workers that were planned for its study, which keep step; without where none were.

    Where they cannot train the study, this process says why and trains, and later runs try no more.
    """
    plan = session.record.info.get("plan") or {}
    workers = min(int(plan.get("workers", 1)), most_workers(options, session.conditions))
    if workers < 2 or is_done(session.record, options):
        yield session
        return
    processes = Processes(["cpu"] * workers, 1, session.conditions.precision)
    with Staff(processes, session.training.stop, session.watcher.notice) as staff:
        fault = first_fault(staff, session)
        if fault is None:
            session.watcher.notice(
                f"{workers} workers of one thread each train side by side; --device cpu trains in this process"
            )
            conditions, pace = replace(session.conditions, threads=1), Pace(int(plan.get("each", 1)))
            yield replace(session, staff=staff, conditions=conditions, pace=pace)
            return
    session.watcher.notice(f"this process trains, since workers cannot train this study ({fault})")
    in_this_process(session)
    yield session


def is_done(record: Record, options: RunOptions) -> bool:
    """Whether a run has nothing to train."""
    confirmation = find_confirmation(record)
    is_confirmed = confirmation is not None and confirmation.conclusion is not None
    return record.counted() >= options.trials and (not options.confirm or (is_confirmed and options.searches == 1))


def first_fault(staff: Staff, session: Session) -> str | None:
    """Why workers do not start here, or cannot take a step of the study; None where they can.

    Raises Interrupted after a stop.
    """
    try:
        parcel = staff.parcel(session.training)
        try:
            staff.begin()
            with doing("trying the first step in a worker"):
                line = staff.lines[0]
                line.call("try_step", parcel)
                staff.answer(line)
        finally:
            staff.discard(parcel)
    except Interrupted:
        raise
    except Exception as error:  # of any kind: code of the user's is sent, and runs there
        return message_line(str(error) or type(error).__name__)
    return None


def in_this_process(session: Session) -> Session:
    """The session without workers, and later runs of its study train without them too."""
    record = session.record
    record.change(plan={**(record.info.get("plan") or {}), "workers": 1})
    conditions = session.conditions.with_threads(session.conditions.threads)  # those that workers had, in this process
    return replace(session, staff=None, pace=None, conditions=conditions)
