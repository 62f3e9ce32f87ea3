"""Explanations: attributions that add up, maps of where the input counts, and the use of shared units."""

import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import STUDY_FILE, done, misused, refused
from PIL import Image
from tables import houses, write
from torch import Tensor, nn

from mtlsearch import (
    ConvTrunk,
    DenseTrunk,
    SeparateTrunks,
    SharedTrunk,
    TextTrunk,
    load_study,
)
from mtlsearch.data.table_encoding import Category, Encoding
from mtlsearch.data.text import Vocabulary
from mtlsearch.errors import DataError, ModelError
from mtlsearch.inference.attribution import (
    Explainer,
    effective_units,
    overlaps,
    relied_on,
    shared_module,
    use_of,
)
from mtlsearch.inference.explain import Example, Explanation, explain, explain_files
from mtlsearch.inference.page import page
from mtlsearch.inference.picture import CAPTION, GAP, TILE, TITLE, map_of, sheet, strength
from mtlsearch.inference.writing import as_json, overlap_lines
from mtlsearch.tasks.kinds import kind_named

SIDE = 6


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def first(outputs: Tensor) -> Tensor:
    """Asks for a task's first output."""
    return outputs[:, 0]


def picture(seed: int = 0) -> Tensor:
    return torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def classification(classes: list[str], shape: list[int], dtype: str = "float32") -> dict[str, Any]:
    return {"kind": "classification", "classes": classes, "input_shape": shape, "input_dtype": dtype}


def config_of(tasks: Mapping[str, Any]) -> dict[str, Any]:
    return {"study": {"name": "<study>"}, "tasks": tasks}


class Halves(nn.Module):
    """Task `a` sees the left half of a picture and no task but `b` the right one; linear."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({task: nn.Linear(SIDE * SIDE // 2, 2) for task in "ab"})

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        half = SIDE // 2
        seen = {"a": inputs["a"][:, :, :half], "b": inputs["b"][:, :, half:]}
        return {task: self.heads[task](x.flatten(1)) for task, x in seen.items()}


# Integrated gradients.


HEADS = {"a": 3, "b": 2}


@pytest.mark.parametrize(
    "build",
    [
        lambda: SharedTrunk(SIDE * SIDE, HEADS, hidden=16, depth=2, norm="batch"),
        lambda: SharedTrunk(SIDE * SIDE, HEADS, hidden=16, depth=2, norm="layer", sharing=1),
        lambda: SeparateTrunks(SIDE * SIDE, HEADS, hidden=16),
        lambda: ConvTrunk(HEADS, channels=4, depth=2, norm="batch"),
    ],
    ids=["shared", "layer norm, sharing 1", "separate", "convolution"],
)
def test_attributions_sum_to_the_change_of_the_output(build: Callable[[], nn.Module]) -> None:
    explainer = Explainer(build(), ["a", "b"], picture())
    for task in "ab":
        found, units = explainer.of_input(task, first), explainer.of_units(task, first)
        assert found.weights.shape == (SIDE, SIDE)
        assert found.end == pytest.approx(float(explainer.outputs[task][0, 0]), abs=1e-5)
        for each in (found,) if units is None else (found, units):
            total, sizes = float(each.weights.sum()), float(each.weights.abs().sum())
            assert total == pytest.approx(found.change, abs=5e-3 * sizes)


def test_attributions_of_a_linear_model_are_weight_times_input() -> None:
    model, x = Halves(), picture()
    found = Explainer(model, ["a", "b"], x).of_input("a", lambda outputs: outputs[:, 1])
    expected = torch.zeros(SIDE, SIDE)
    expected[:, : SIDE // 2] = model.heads["a"].weight.detach()[1].view(SIDE, -1) * x[0, :, : SIDE // 2]
    torch.testing.assert_close(found.weights, expected)


def test_map_is_zero_where_the_input_has_no_influence() -> None:
    explainer = Explainer(Halves(), ["a", "b"], picture())
    a, b = (explainer.of_input(task, first).weights for task in "ab")
    assert not a[:, SIDE // 2 :].any()
    assert not b[:, : SIDE // 2].any()
    assert a.any()
    assert b.any()


def test_task_that_ignores_its_input_gets_a_map_of_zeros() -> None:
    class Constant(Halves):
        def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {**super().forward(inputs), "b": self.heads["b"].bias.expand(len(inputs["b"]), 2)}

    found = Explainer(Constant(), ["a", "b"], picture()).of_input("b", first)
    assert (found.change, bool(found.weights.any())) == (0, False)


def test_texts_are_attributed_by_their_embeddings_and_padding_gets_nothing() -> None:
    model = TextTrunk(20, {"mood": 3, "tags": ("tokens", 3)}, hidden=8)
    ids = torch.zeros(1, 5, 2, dtype=torch.int32)
    ids[0, :3] = torch.tensor([[2, 11], [3, 12], [4, 13]])
    explainer = Explainer(model, ["mood", "tags"], ids)
    for task, ask in (("mood", first), ("tags", lambda outputs: outputs[:, 1, 2])):
        found = explainer.of_input(task, ask)
        assert found.weights.shape == (5, 2)
        assert abs(found.delta) < 1e-2 * float(found.weights.abs().sum())
        assert found.weights[:3].abs().min() > 0
        assert not found.weights[3:].any()


def test_whole_numbers_without_an_embedding_are_refused() -> None:
    class Cast(SharedTrunk):
        def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return super().forward({task: x.float() for task, x in inputs.items()})

    with pytest.raises(ModelError, match=r"whole numbers that one nn\.Embedding looks up once"):
        Explainer(Cast(4, {"a": 2}, hidden=4), ["a"], torch.zeros(1, 4, dtype=torch.int64))


# The shared units.


class OwnTrunk(nn.Module):
    """A user's model: other names, the trunk called once for each task."""

    def __init__(self, heads: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 4), nn.ReLU(inplace=True))
        self.last = nn.ModuleDict({task: nn.Linear(4, len(weight)) for task, weight in heads.items()})
        for task, weight in heads.items():
            self.last[task].weight.data = weight
        self.body[1].bias.data.fill_(1.0)
        self.body[1].weight.data.abs_()

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {task: self.last[task](self.body(x)) for task, x in inputs.items()}


def uses(model: nn.Module) -> dict[str, Tensor]:
    explainer = Explainer(model, ["a", "b"], picture())
    found = {task: explainer.of_units(task, first) for task in "ab"}
    return {task: use_of([each.weights]) for task, each in found.items() if each is not None}


def test_overlap_of_identical_heads_is_1_and_of_disjoint_heads_0() -> None:
    one, other = torch.tensor([[1.0, 2, 0, 0]]), torch.tensor([[0.0, 0, 3, 1]])
    same = overlaps(torch.stack(list(uses(OwnTrunk({"a": one, "b": one})).values())))
    torch.testing.assert_close(same, torch.ones(2, 2, dtype=torch.float64))
    apart = overlaps(torch.stack(list(uses(OwnTrunk({"a": one, "b": other})).values())))
    torch.testing.assert_close(apart, torch.eye(2, dtype=torch.float64))


def test_units_of_a_linear_head_are_attributed_by_weight_times_their_change() -> None:
    model = OwnTrunk({"a": torch.tensor([[1.0, -2, 0.5, 0]]), "b": torch.ones(1, 4)})
    found = Explainer(model, ["a", "b"], picture()).of_units("a", first)
    with torch.no_grad():
        change = (model.body(picture()) - model.body(torch.zeros(1, SIDE, SIDE)))[0]
    assert found is not None
    torch.testing.assert_close(found.weights, model.last["a"].weight.detach()[0] * change)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (SharedTrunk(36, {"a": 3, "b": 2}, hidden=5), "trunk"),
        (SharedTrunk(36, {"a": 3, "b": 2}, hidden=5, depth=2, sharing=1), "trunk"),
        (SharedTrunk(36, {"a": 3, "b": 2}, hidden=5, sharing="separate"), None),
        (SeparateTrunks(36, {"a": 3, "b": 2}, hidden=5), None),
        (ConvTrunk({"a": 3, "b": 2}, channels=2, depth=2, sharing=1), "trunk"),
        (OwnTrunk({"a": torch.ones(1, 4), "b": torch.ones(1, 4)}), "body"),
        (Halves(), None),
    ],
)
def test_the_shared_trunk_is_found_in_any_model(model: nn.Module, name: str | None) -> None:
    found = shared_module(model.eval(), lambda x: model({"a": x, "b": x}), picture())
    assert found is (None if name is None else model.get_submodule(name))


def test_a_frozen_trunk_is_found_and_stays_frozen() -> None:
    model = SharedTrunk(36, {"a": 3, "b": 2}, hidden=5).eval()
    model.trunk.requires_grad_(False)
    assert shared_module(model, lambda x: model({"a": x, "b": x}), picture()) is model.trunk
    assert not any(parameter.requires_grad for parameter in model.trunk.parameters())


def test_effective_units_are_the_number_of_units_used_alike() -> None:
    assert effective_units(torch.tensor([0.25, 0.25, 0, 0.25, 0.25])) == pytest.approx(4)
    assert effective_units(torch.tensor([0.0, 1.0])) == pytest.approx(1)
    assert 1 < effective_units(use_of([torch.tensor([9.0, -1.0])])) < 2
    assert effective_units(torch.zeros(3)) == 0


def test_a_task_relies_on_the_fewest_units_that_carry_nine_tenths() -> None:
    assert relied_on(torch.tensor([0.05, 0.6, 0.05, 0.3])).tolist() == [False, True, False, True]
    assert not relied_on(torch.zeros(3)).any()


# What is asked of each kind of task.


def asked(kind: str, output: Tensor, classes: list[str] = [], parts: list[str] = [], **about: Any) -> Any:  # noqa: B006
    found = kind_named(kind).questions(output, {"classes": classes, **about}, parts)
    return [(each.label, each.probability, float(each.ask(output)[0])) for each in found]


def test_each_kind_of_task_is_asked_for_its_own_answer() -> None:
    assert asked("classification", torch.tensor([[0.0, 0.0, 9.0]]), ["a", "b", "c"]) == [
        ("c", pytest.approx(1, abs=1e-3), 9)
    ]
    likely = asked("multilabel", torch.tensor([[1.0, -1.0, 2.0]]), ["a", "b", "c"])
    assert [(label, value) for label, _, value in likely] == [("c", 2), ("a", 1)]
    assert [label for label, *_ in asked("multilabel", torch.tensor([[-3.0, -1.0]]), ["a", "b"])] == ["b"]
    assert asked("regression", torch.tensor([[2.0]]), mean=[5.0], std=[10.0]) == [("25", None, 25)]
    assert asked("customtask", torch.tensor([[2.0, 3.0]])) == [
        ("value 1: 2", None, 2),
        ("value 2: 3", None, 3),
    ]


def test_tags_are_explained_span_by_span() -> None:
    output = torch.full((1, 4, 3), -9.0)
    for place, tag in enumerate([0, 1, 2, 0]):
        output[0, place, tag] = place + 1
    tags, tokens = ["O", "B-place", "I-place"], ["in", "New", "York"]
    assert asked("tokentagging", output, tags, tokens) == [("New York (place)", pytest.approx(1, abs=1e-4), 5)]
    output[:, 1:3] = torch.tensor([1.0, 0.0, 0.0])
    assert [label for label, *_ in asked("tokentagging", output, tags, tokens)] == ["no span"]


def test_dense_tasks_are_left_out_and_alone_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dense = {**classification([], [3, 8, 8]), "kind": "depth"}
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 8), np.float32))
    model = DenseTrunk({"far": 1}, channels=2, depth=1)
    with pytest.raises(DataError, match="far answer with a picture"):
        explain_files(model, config_of({"far": dense}), [tmp_path / "x.npy"])

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.far, self.head = model, nn.Linear(192, 2)

        def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {**self.far({"far": inputs["far"]}), "a": self.head(inputs["a"].flatten(1))}

    tasks = {"far": dense, "a": classification(["x", "y"], [3, 8, 8])}
    found = explain_files(Both(), config_of(tasks), [tmp_path / "x.npy"])
    assert (list(found.inputs[0].answers), found.left_out) == (["a"], ["far"])
    assert "far: not explained" in capsys.readouterr().err


# Pictures and pages.


def test_map_is_blue_for_orange_against_and_clear_at_the_baseline() -> None:
    weights, x = torch.zeros(2, 2), torch.zeros(1, 2, 2)
    weights[0, 0], weights[0, 1], x[0, 1, 0] = 2.0, -2.0, 1.0
    pixels = np.asarray(map_of(weights, x)).astype(int)
    assert pixels[0, 0, 2] > pixels[0, 0, 0]  # blue
    assert pixels[0, 1, 0] > pixels[0, 1, 2]  # orange
    assert pixels[0, 0, 3] == pixels[0, 1, 3] == 255
    assert 0 < pixels[1, 0, 3] < 255  # the picture's own pixel in grey
    assert pixels[1, 1, 3] == 0


def test_colours_are_scaled_without_the_largest_outliers() -> None:
    weights = np.append(np.linspace(-1, 1, 999), 50.0)
    assert strength(weights).max() == 1
    assert strength(weights)[0] < -0.9
    assert not strength(np.zeros(4)).any()


def explained(model: nn.Module, inputs: int, name: str = "x") -> Any:
    tasks = {
        "<a>": classification(["<i>0</i>", "1", "2"], [SIDE, SIDE]),
        "b": classification(["n", "y"], [SIDE, SIDE]),
    }
    found = [
        explain(model, config_of(tasks), tasks, Example(f"{name}{i}", "picture", picture(i))) for i in range(inputs)
    ]
    uses = {task: torch.stack([each.uses[task] for each in found]).mean(0) for task in found[0].uses}
    return Explanation("<study>", list(tasks), found, uses=uses)


def test_sheet_has_a_panel_for_the_input_and_for_each_task() -> None:
    found = explained(SharedTrunk(36, {"<a>": 3, "b": 2}, hidden=5), inputs=2)
    picture = sheet(found)
    assert picture.size == (GAP + 3 * (TILE + GAP), GAP + 2 * (TITLE + TILE + CAPTION + GAP))
    pixels = np.asarray(picture)
    for row in range(2):
        for column in range(3):
            left, top = GAP + column * (TILE + GAP), GAP + TITLE + row * (TITLE + TILE + CAPTION + GAP)
            assert (pixels[top : top + TILE, left : left + TILE] != 255).any()


def test_page_escapes_names_runs_nothing_and_fetches_nothing() -> None:
    text = page(explained(SharedTrunk(36, {"<a>": 3, "b": 2}, hidden=5), 1, name="<script>alert(1)</script>"))
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;0" in text
    assert "&lt;study&gt;" in text
    assert "<a>" not in text
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    assert text.count('<img class="map small"') == 3
    assert text.count('<img class="strip"') == 2


def test_page_of_tasks_that_share_nothing_says_so() -> None:
    found = explained(SeparateTrunks(36, {"<a>": 3, "b": 2}, hidden=5), 1)
    assert "The tasks share no units." in page(found)
    assert overlap_lines(found) == []


def test_page_of_many_tasks_shows_the_first_and_folds_the_others() -> None:
    names = [f"task{i}" for i in range(40)]
    tasks = {name: classification(["n", "y"], [SIDE, SIDE]) for name in names}
    model = SharedTrunk(36, dict.fromkeys(names, 2), hidden=5)
    found = explain(model, config_of(tasks), tasks, Example("x", "picture", picture()))
    whole = Explanation("s", names, [found], uses=found.uses)
    text = page(whole)
    assert text.count("<details>") == 3
    assert "24 more answers" in text
    assert len(overlap_lines(whole)) == 2


# The command.


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained model of `digits` and two pictures."""
    folder = tmp_path_factory.mktemp("digits")
    done("train", "digits", "--epochs", "2", "--threads", "1", "--quiet", "-o", folder / "m.safetensors")
    inputs = load_study("digits").tasks[0].data(folder).test.inputs[:2].numpy()
    for i, array in enumerate(inputs):
        Image.fromarray(array).save(folder / f"{i}.png")
    np.save(folder / "many.npy", np.repeat(inputs, 13, axis=0))
    return folder


@pytest.fixture
def here(digits: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(digits)
    return digits


def test_command_writes_a_page_and_prints_what_adds_up(here: Path) -> None:
    outcome = done("explain", "m.safetensors", "0.png", "1.png")
    lines = outcome.out.splitlines()
    assert lines[0].split() == [
        "input",
        "task",
        "prediction",
        "probability",
        "attributed",
        "of",
        "gap",
        "trunk",
    ]
    assert [line.split()[:2] for line in lines[1:5]] == [
        [file, task] for file in ("0.png", "1.png") for task in ("left", "right")
    ]
    assert all(float(line.split()[6].removesuffix("%")) <= 5 for line in lines[1:5])
    assert lines[5].startswith("trunk overlap of left and right: 0.")
    assert outcome.err == "mtlsearch: explained.html is written\n"
    text = Path("explained.html").read_text()
    assert text.count('<img class="map small"') == 6


def test_answers_are_those_of_predict_and_the_numbers_are_json(here: Path) -> None:
    found = done("explain", "m.safetensors", "0.png", "--json", "-o", "j.html").json
    (predicted,) = done("predict", "m.safetensors", "0.png", "--json").json["predictions"]
    for task, (answer,) in found["inputs"][0]["tasks"].items():
        assert answer["prediction"] == predicted["tasks"][task]["label"]
        assert answer["probability"] == pytest.approx(max(predicted["tasks"][task]["probabilities"].values()))
        weights = np.array(answer["attributions"])
        assert weights.shape == (12, 12)
        change = answer["output"] - answer["baseline_output"]
        assert weights.sum() == pytest.approx(change + answer["delta"], abs=1e-4)
    trunk = found["trunk"]
    assert trunk["units"] == 64
    assert math.isclose(sum(trunk["tasks"]["left"]["use"]), 1, abs_tol=1e-6)
    assert trunk["overlap"]["left"]["right"] == trunk["overlap"]["right"]["left"]
    assert found["inputs"][0]["trunk"]["left"] == pytest.approx(trunk["tasks"]["left"]["effective_share"])


def test_png_holds_the_same_panels(here: Path) -> None:
    done("explain", "m.safetensors", "0.png", "1.png", "-o", "all.png")
    with Image.open("all.png") as found:
        assert found.size == (GAP + 3 * (TILE + GAP), GAP + 2 * (TITLE + TILE + CAPTION + GAP))


def test_only_the_first_inputs_of_very_many_are_explained(here: Path) -> None:
    outcome = done("explain", "m.safetensors", "many.npy", "-o", "many.html", "--json")
    assert "mtlsearch: only the first 24 inputs are explained" in outcome.err
    assert [each["input"] for each in outcome.json["inputs"]] == [f"many.npy[{i}]" for i in range(24)]


def test_input_that_equals_the_baseline_is_reported_and_gets_no_attributions(here: Path) -> None:
    np.save("black.npy", np.zeros((12, 12), np.uint8))
    outcome = done("explain", "m.safetensors", "black.npy", "--json")
    assert "black.npy equals the baseline, so there is nothing to attribute" in outcome.err
    assert not np.any(outcome.json["inputs"][0]["tasks"]["left"][0]["attributions"])
    assert outcome.json["trunk"]["tasks"]["left"]["effective_units"] == 0


def test_bad_calls_are_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused("explain", "m.safetensors", "no.png") == "no input file no.png"
    assert "must end in .html or .png" in refused("explain", "m.safetensors", "0.png", "-o", "x.pdf", status=2)
    assert "there is no folder" in refused("explain", "m.safetensors", "0.png", "-o", "no/x.html")
    assert "no file of parameters" in refused("explain", "no.safetensors", "0.png")
    assert "Missing argument 'INPUTS...'" in misused("explain", "m.safetensors")
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    line = refused("explain", "m.safetensors", "0.png", status=2)
    assert line == "explain needs Captum: pip install 'mtlsearch[explain]'"


def test_columns_of_a_raw_table_are_named_with_their_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, houses())
    done("init", "--csv", "houses.csv", "--targets", "price,sold", "--out", "mine.py")
    done("train", "mine.py", "--epochs", "2", "--threads", "1", "--quiet", "-o", "m.safetensors")
    write(tmp_path, houses(2).drop(columns=["price", "sold"]), "new.csv")
    found = done("explain", "m.safetensors", "new.csv", "--study", "mine.py", "--json").json["inputs"]
    (price,) = found[0]["tasks"]["price"]
    values = [f"rooms = {houses(2)['rooms'][0]}", "area = missing", "city = missing", "built = 1990-01-01"]
    assert sorted(price["attributions"]) == sorted(values)
    change = price["output"] - price["baseline_output"]
    assert sum(price["attributions"].values()) == pytest.approx(change, abs=0.02 * abs(change) + 1e-3)
    assert price["prediction"] == f"{price['output']:.4g}"
    assert 'class="bars"' in Path("explained.html").read_text()
    line = refused("explain", "m.safetensors", "new.csv", "--study", "mine.py", "-o", "x.png", status=2)
    assert line == "a .png shows pictures, but new.csv, line 2 is none: use -o NAME.html"


def test_texts_are_shown_token_by_token(tmp_path: Path) -> None:
    vocabulary = Vocabulary.of(["rain", "rain", "sun", "sun"], rows=8, buckets=8, length=5)
    model = TextTrunk(16, {"mood": 2, "tags": ("tokens", 3)}, hidden=8, depth=1)
    shape = [5, 4]
    tags = {**classification(["O", "B-x", "I-x"], shape, "int32"), "kind": "tokentagging"}
    tasks = {"mood": classification(["sad", "glad"], shape, "int32"), "tags": tags}
    (tmp_path / "t.txt").write_text("sun & rain\n<b> sun\n")
    config = {**config_of(tasks), "text": vocabulary.to_dict()}
    found = explain_files(model, config, [tmp_path / "t.txt"])
    assert [each.example.parts for each in found.inputs] == [["sun", "&", "rain"], ["<", "b", ">", "sun"]]
    numbers = as_json(found)["inputs"][0]["tasks"]["mood"][0]
    assert [token for token, _ in numbers["attributions"]] == ["sun", "&", "rain"]
    change = numbers["output"] - numbers["baseline_output"]
    given = sum(weight for _, weight in numbers["attributions"])
    assert given == pytest.approx(change + numbers["delta"], abs=1e-4)
    assert (text := page(found)).count('<p class="text">') == sum(
        len(answers) for each in found.inputs for answers in each.answers.values()
    )
    assert ">&lt;</span>" in text
    assert ">&amp;</span>" in text
    assert set(found.uses) == {"mood", "tags"}


def test_inputs_of_a_table_without_names_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(STUDY_FILE)
    done("train", "mine.py", "--epochs", "2", "--threads", "1", "--quiet", "-o", "m.safetensors")
    Path("x.csv").write_text("2,-2,0,0\n")
    found = done("explain", "m.safetensors", "x.csv", "--study", "mine.py", "--json").json["inputs"][0]
    weights = found["tasks"]["a"][0]["attributions"]
    assert list(weights) == ["input 1", "input 2", "input 3", "input 4"]
    assert weights["input 3"] == weights["input 4"] == 0  # as the baseline is


def test_unknown_and_rare_levels_of_a_category_are_told_apart() -> None:
    encoding = Encoding([], [Category("city", ["Oslo"], missing=False, rarer=True)])
    names = [encoding.names(row)[0] for row in ([1.0, 0.0], [0.0, 1.0], [0.0, 0.0])]
    assert names == ["city = Oslo", "city = a rare one", "city = unknown"]
