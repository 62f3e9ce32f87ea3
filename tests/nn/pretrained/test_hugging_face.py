"""A small model of Hugging Face with random weights: fine-tuned, frozen, adapted; alone and in a population."""

import pytest
import torch
from population_asserts import assert_as_alone, config
from torch import nn
from transformers import BertConfig, BertModel

from mtlsearch import Classification, Data, Study, TokenTagging, adapted, frozen, integer
from mtlsearch.study.loaded import load_data
from mtlsearch.training.population.population import PopulationTrainer
from mtlsearch.training.population.steps import Eager
from mtlsearch.training.solo import SoloTrainer
from mtlsearch.training.trainer import Training

WIDTH, LENGTH, IDS = 8, 6, 30
ATTENTION = ("eager", "sdpa")
SETTINGS = BertConfig(
    vocab_size=IDS,
    hidden_size=WIDTH,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=LENGTH,
    attention_probs_dropout_prob=0.1,
)


class Encoder(nn.Module):
    """The states [B, L, W] of the tokens with these ids [B, L], of which 0 is no token."""

    def __init__(self, attention):
        super().__init__()
        settings = BertConfig.from_dict(SETTINGS.to_dict(), attn_implementation=attention)
        self.bert = BertModel(settings, add_pooling_layer=False)

    def forward(self, ids):
        return self.bert(input_ids=ids, attention_mask=(ids > 0).long()).last_hidden_state


class Net(nn.Module):
    """A text's topic from its first token, and a tag for each token."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({"topic": nn.Linear(WIDTH, 2), "tags": nn.Linear(WIDTH, 3)})

    def forward(self, inputs):
        states = self.encoder(next(iter(inputs.values())))
        return {task: self.heads[task](states[:, 0] if task == "topic" else states) for task in inputs}


def texts(directory) -> Data:
    def part(seed, rows):
        random = torch.Generator().manual_seed(seed)
        ids = torch.randint(1, IDS, (rows, LENGTH), generator=random)
        ids[torch.arange(LENGTH) >= torch.randint(2, LENGTH + 1, (rows, 1), generator=random)] = 0
        tags = torch.where(ids > 0, (ids % 5 == 0).long(), -1)  # "B-" where the id is a multiple of five
        return ids, {"topic": (ids[:, 0] > IDS // 2).long(), "tags": tags}

    return Data(part(0, 140), part(1, 40), validation=40, inputs="tokens", classes={"tags": ["O", "B-X", "I-X"]})


def base(attention="eager") -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Encoder(attention)


def study(model) -> Study:
    return Study(
        tasks=[Classification("topic", texts), TokenTagging("tags", texts)],
        model=model,
        space={"rank": integer(1, 4)},
        default={"rank": 2, "learning_rate": 1e-2},
        epochs=4,
        batch_size=8,
    )


def ways(attention):
    shared = base(attention)
    yield "fine-tuned", lambda values: Net(Encoder(attention))
    yield "adapted", lambda values: Net(adapted(shared, values["rank"], layers=["query", "value"], dropout=0.1))


@pytest.mark.parametrize("way", ["fine-tuned", "adapted"])
@pytest.mark.parametrize("attention", ATTENTION)
def test_it_trains_in_a_population_as_alone(attention, way):
    searched = study(dict(ways(attention))[way])
    training = Training(load_data(searched, None), seed=3, dtype=torch.float64)
    configs = [config(searched, [w, 1 - w], rank=rank) for w, rank in ((0.5, 1), (0.1, 4), (0.9, 2))]
    trainer = PopulationTrainer(training, 3, Eager(), pytest.fail)
    for number, member in enumerate(configs):
        trainer.add(number, member)
    assert len(list(trainer.lanes)) == 1
    results = [result for _ in range(4) for result in trainer.advance()]  # 13 steps each
    for number in (0, 1):
        assert_as_alone(trainer, number, configs[number], results)
    assert ("encoder.bert.embeddings.word_embeddings.weight" in trainer.state(0)) == (way == "fine-tuned")


def test_its_states_are_features_that_are_computed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    encoder = frozen(base())
    loaded = load_data(study(lambda values: Net(encoder)), None)
    assert loaded.study.fed
    assert loaded.splits[0].train.inputs.shape == (100, LENGTH, WIDTH)
    assert loaded.splits[0].inputs_given.kind == "tokens"
    trainer = SoloTrainer(Training(loaded, seed=3))
    trainer.add(0, loaded.study.default_config())
    assert set(trainer.advance()[0].validation) == {"topic", "tags"}
    assert set(trainer.state(0)) == {f"heads.{task}.{p}" for task in ("topic", "tags") for p in ("weight", "bias")}
