"""A run that cannot start says why in one line, and leaves no study in the store that would refuse the next run."""

from pathlib import Path

import optuna
import pytest
from commands import STUDY_FILE, command, done, refused, stored
from optuna.trial import TrialState

RUN = ("run", "mine.py", "--threads", "1", "--no-confirm", "--quiet", "--trials", "4")
NO_MEMORY = """
class Hungry(SharedTrunk):
    def forward(self, inputs):
        if self.training:
            torch.empty(2**60)
        return super().forward(inputs)


def source("""


def with_task(loss: str, metric: str = "0.5", unit: str = "1.0") -> str:
    """The study file with a task of its own, whose loss, metric and unit are these expressions."""
    task = (
        f'CustomTask("b", source, size=2, unit={unit}, loss_fn=lambda outputs, labels: {loss},'
        f" metric_fn=lambda outputs, labels: {metric})"
    )
    text = STUDY_FILE.replace("Data,", "CustomTask, Data,")
    return text.replace('Classification("b", source)', task)


ENTROPY = 'torch.nn.functional.cross_entropy(outputs, labels, reduction="none")'
UNBUILT = STUDY_FILE.replace('torch.nn.init.constant_(next(net.parameters()), float("nan"))', "raise ValueError(7)")
NOT_STARTED = {
    "a device that is not there": (STUDY_FILE, ("--device", "cuda:77"), 2, "--device cuda:77"),
    "a loss that is not finite": (
        with_task(f"float('nan') * {ENTROPY}", unit="None"),
        (),
        1,
        "the loss of task 'b' must be finite and change with the outputs, but at initialisation it is nan",
    ),
    "a loss that fails": (
        with_task("outputs[labels.shape]"),
        (),
        1,
        "the first training step of the default config fails: IndexError",
    ),
    "no memory for a step": (
        STUDY_FILE.replace("\ndef source(", NO_MEMORY, 1).replace("net = SharedTrunk", "net = Hungry"),
        (),
        1,
        "the first training step of the default config fails: RuntimeError",
    ),
    "a model of a drawn config that is not built": (UNBUILT, ("--population", "4"), 1, "ValueError: 7"),
    "a metric that fails": (
        with_task(ENTROPY, "{}['accuracy']"),
        ("--population", "1"),
        1,
        "the metric of task 'b' fails: KeyError",
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.delenv("MTLSEARCH_STORAGE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def studies() -> list[str]:
    return optuna.get_all_study_names("sqlite:///mtlsearch.db") if Path("mtlsearch.db").exists() else []


@pytest.mark.parametrize("others", [False, True], ids=["in an empty store", "beside another study"])
@pytest.mark.parametrize(("text", "options", "status", "said"), NOT_STARTED.values(), ids=NOT_STARTED)
def test_run_that_cannot_start_leaves_no_study(
    here: Path, text: str, options: tuple[str, ...], status: int, said: str, others: bool
) -> None:
    if others:
        Path("mine.py").write_text(STUDY_FILE)
        done(*RUN, "--trials", "1", "--population", "1", "--name", "other")
    before = studies(), stored(here / "mtlsearch.db", "other") if others else []
    Path("mine.py").write_text(text)
    assert said in refused(*RUN, *options, status=status)
    assert (studies(), stored(here / "mtlsearch.db", "other") if others else []) == before
    Path("mine.py").write_text(STUDY_FILE)
    done(*RUN, "--trials", "1", "--population", "1", "--epochs", "1")
    assert len(stored(here / "mtlsearch.db", "mine")) == 1


def test_study_with_a_result_stays_where_a_later_trial_cannot_be_built(here: Path) -> None:
    Path("mine.py").write_text(UNBUILT)
    assert "ValueError: 7" in refused(*RUN, "--population", "1")
    assert stored(here / "mtlsearch.db", "mine")[0].state is TrialState.COMPLETE


def test_interrupted_run_leaves_its_study(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtlsearch.training.trainer import Interrupted, Training

    def stop(training: Training) -> None:
        raise Interrupted

    Path("mine.py").write_text(STUDY_FILE)
    monkeypatch.setattr(Training, "check_stop", stop)
    assert command(*RUN, "--population", "1").status == 130
    assert studies() == ["mine"]


def test_comparison_that_cannot_start_leaves_no_study(here: Path) -> None:
    Path("mine.py").write_text(NOT_STARTED["no memory for a step"][0])
    assert "the first training step" in refused("compare", "mine.py", "--threads", "1", "--trials", "1", "--quiet")
    assert studies() == []


def test_compare_that_cannot_start_leaves_no_study(here: Path) -> None:
    """Not the study, and none of the searches of its methods."""
    text, _, status, said = NOT_STARTED["a metric that fails"]
    (here / "mine.py").write_text(text)
    compare = ("compare", "mine.py", "--methods", "tuned,rlw", "--threads", 1, "--population", 1, "--trials", 2)
    outcome = command(*compare)
    assert outcome.status == status
    assert said in outcome.err.splitlines()[-1]
    assert studies() == []
