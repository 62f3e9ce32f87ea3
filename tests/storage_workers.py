"""Work that tests let other processes do on a store; each function is the whole of one process."""

import os
import sqlite3
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import optuna
from optuna.samplers import RandomSampler

from mtlsearch.errors import StoreError
from mtlsearch.store.database.opening import open_storage

# Forked from a process that has imported everything and nothing else: quick, and without pytest's threads.
processes = get_context("forkserver")
processes.set_forkserver_preload(["storage_workers"])


def start(worker: object, *arguments: object) -> tuple[BaseProcess, Connection]:
    """The process that runs `worker(pipe, *arguments)`, and the pipe's other end."""
    here, there = processes.Pipe()
    process = processes.Process(target=worker, args=(there, *arguments), daemon=True)
    process.start()
    there.close()
    return process, here


def open_and_record(pipe: Connection, url: str, at: float) -> None:
    """Waits for the moment `at`, so that all begin at once; then makes the study, and a trial in it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    time.sleep(max(0.0, at - time.time()))
    try:
        with open_storage(url, create=True) as storage:
            study = optuna.create_study(storage=storage, study_name="study", load_if_exists=True)
            trial = storage.ask(study, 1000)
            assert trial is not None
            study.tell(trial, float(os.getpid()))
            pipe.send(trial.number)
    except Exception as e:
        pipe.send(repr(e))


def search(pipe: Connection, url: str, total: int, seed: int, linger: float) -> None:
    """Runs trials until the total is reserved; sends (number, x, score) of each once it has been told."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with open_storage(url, create=True) as storage:
        sampler = RandomSampler(seed=seed)
        study = optuna.create_study(
            storage=storage, study_name="study", direction="maximize", sampler=sampler, load_if_exists=True
        )
        while (trial := storage.ask(study, total, {"owner": {"pid": os.getpid()}})) is not None:
            x = trial.suggest_float("x", 0, 1)
            for step in range(5):
                trial.report(x * step, step)
                time.sleep(linger / 5)
            study.tell(trial, x)
            pipe.send((trial.number, x, x))
        pipe.send(None)


def report_then_train(pipe: Connection, url: str) -> None:
    """Begins a trial, reports one epoch, and then works without ever calling the store again."""
    storage = open_storage(url, create=True)
    study = optuna.create_study(storage=storage, study_name="study", load_if_exists=True)
    trial = storage.ask(study, 10)
    assert trial is not None
    trial.suggest_float("x", 0, 1)
    trial.report(0.5, 0)
    pipe.send(time.time())
    end = time.time() + 20
    while time.time() < end:
        sum(range(10000))


def hold_the_lock(pipe: Connection, path: str, seconds: float) -> None:
    """Keeps the file locked for writing."""
    connection = sqlite3.connect(path)
    connection.execute("BEGIN IMMEDIATE")
    pipe.send("locked")
    time.sleep(seconds)
    connection.rollback()
    connection.close()


def write_until_error(pipe: Connection, url: str) -> None:
    """Runs trials until the store fails; sends the numbers of those told, and then the error's line."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    told = []
    try:
        with open_storage(url, create=True) as storage:
            study = optuna.create_study(storage=storage, study_name="study", load_if_exists=True)
            while (trial := storage.ask(study, 10**6, {"padding": "x" * 2000})) is not None:
                study.tell(trial, 1.0)
                told.append(trial.number)
    except StoreError as e:
        pipe.send((told, str(e)))
