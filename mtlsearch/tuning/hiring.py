"""The workers that a command's options ask for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from mtlsearch.activity import doing
from mtlsearch.limits import CORES
from mtlsearch.training.device import Conditions, use_device
from mtlsearch.training.remote.devices import named_devices
from mtlsearch.training.remote.processes import Processes
from mtlsearch.training.remote.ray_actors import RayActors, check_cluster
from mtlsearch.training.remote.staff import Staff
from mtlsearch.training.remote.transport import Transport
from mtlsearch.training.remote.worker import threads_each
from mtlsearch.tuning.options.groups import WorkerOptions
from mtlsearch.tuning.session import Session


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
