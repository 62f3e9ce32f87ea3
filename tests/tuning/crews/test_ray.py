"""Workers on a Ray cluster of this machine: a head, and nodes that come and go."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import command, done, refused, stored
from optuna.trial import TrialState
from worker_runs import arguments, here, outcomes

from mtlsearch.training.remote import ray_actors
from mtlsearch.training.remote.trainer import RemoteTrainer
from mtlsearch.tuning.crews import remote

pytest.importorskip("ray")
PAST_RANDOM = 30  # trials: TPE suggests from the eleventh on


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster whose head has no room for workers, with one node that has room for one."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.add_node(num_cpus=1)
    before = os.environ.get("RAY_ADDRESS")
    os.environ["RAY_ADDRESS"] = made.address
    try:
        yield made
    finally:
        if before is None:
            del os.environ["RAY_ADDRESS"]
        else:
            os.environ["RAY_ADDRESS"] = before
        made.shutdown()


def at_epochs(monkeypatch: pytest.MonkeyPatch, *due: tuple[int, Callable[[RemoteTrainer], object]]) -> list[int]:
    """Do something when the nth epoch of a run has begun; the numbers of those epochs."""
    doing, begun, hit, begin = dict(due), iter(range(10_000)), list[int](), RemoteTrainer.begin

    def begin_and_do(trainer: RemoteTrainer) -> None:
        begin(trainer)
        number = next(begun)
        if number in doing:
            hit.append(number)
            doing[number](trainer)

    monkeypatch.setattr(RemoteTrainer, "begin", begin_and_do)
    return hit


def kill_process(trainer: RemoteTrainer) -> None:
    """Kill the process of a worker, whose id is the end of its name."""
    os.kill(int(trainer.line.name.rpartition(" ")[2]), signal.SIGKILL)


def test_one_worker_gives_the_trials_of_this_process(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hit = at_epochs(monkeypatch, (20, kill_process))
    store = tmp_path / "store.db"
    done(*arguments(store, PAST_RANDOM, "--ray", "auto", "--workers", 1))
    assert hit == [20]
    assert outcomes(store) == here(tmp_path, PAST_RANDOM), "or the loss of its worker changed them"
    assert len({trial.user_attrs["worker"] for trial in stored(store, "mine")}) == 2


def test_nodes_that_come_and_go_cost_no_trial(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOVE_S", 0.5)
    monkeypatch.setattr(remote, "FOLLOW_S", 0.2)
    nodes = [cluster.add_node(num_cpus=1)]

    def lose_node(trainer: RemoteTrainer) -> None:
        cluster.remove_node(nodes.pop(), allow_graceful=False)

    def add_node(trainer: RemoteTrainer) -> None:
        nodes.append(cluster.add_node(num_cpus=1))

    hit = at_epochs(monkeypatch, (4, lose_node), (12, add_node))
    store = tmp_path / "store.db"
    outcome = command(*(a for a in arguments(store, 24, "--ray", "auto", epochs=6) if a != "--quiet"))
    assert outcome.status == 0, outcome.err
    assert hit == [4, 12]
    assert "is lost (" in outcome.err
    trials = stored(store, "mine")
    assert [trial.number for trial in trials] == list(range(24))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    assert not any("interrupted" in trial.user_attrs for trial in trials)


def test_cluster_without_room_for_a_worker_is_told(cluster: Any, tmp_path: Path) -> None:
    line = refused(*arguments(tmp_path / "store.db", 2, "--ray", "auto", "--resources", "cpu=64"))
    assert line == (
        "no node of the Ray cluster has the resources of one worker (CPU=64): ask for less with --resources"
    )


def test_cluster_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_actors, "CONNECT_S", 1.0)
    line = refused(*arguments(tmp_path / "store.db", 2, "--ray", "ray://127.0.0.1:9"))
    assert line.startswith("--ray ray://127.0.0.1:9: no cluster answers (")


def test_ray_that_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_actors, "find_spec", lambda name: None)
    line = refused(*arguments(tmp_path / "store.db", 2, "--ray", "local"), status=2)
    assert line == "--ray needs Ray: pip install 'mtlsearch[ray]'"
    assert not (tmp_path / "store.db").exists()
