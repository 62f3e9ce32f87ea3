"""The kept state of a population's lanes, from which they go on bit for bit.

A lane is kept as it is, its padding and its empty slots too: then every later epoch computes on tensors of the same
shapes, and members move between the same lanes.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from mtlsearch.nn.pretrained.shared import own_state
from mtlsearch.study.results import TrialProgress
from mtlsearch.training.kept import Kept, config_of_facts, member_facts
from mtlsearch.training.optim import OptimizerSettings
from mtlsearch.training.population.lane import Lane, LaneMember
from mtlsearch.training.population.lanes import Lanes
from mtlsearch.training.population.steps import uncompiled


def keep_lanes(lanes: Lanes) -> Kept:
    """The whole state of the lanes that hold members."""
    kept = [lane for lane in lanes if lane.active]
    tensors = {f"{i}:{j}": t for i, lane in enumerate(kept) for j, t in enumerate(lane.state.stacked())}
    return Kept(tensors, {"lanes": [_lane_facts(lane) for lane in kept], "most_slots": lanes.most_slots})


def _lane_facts(lane: Lane) -> dict[str, Any]:
    members = [
        None
        if member is None
        else {**member_facts(member.config, member.progress), "moved": member.moved, "seed": member.seed}
        for member in lane.members
    ]
    return {"seed": lane.seed, "width": lane.width, "narrowed": lane.is_uncompiled, "members": members}


def restore_lanes(lanes: Lanes, kept: Kept) -> None:
    """Make the lanes again that `keep_lanes` kept, with their members in the same slots."""
    lanes.most_slots = kept.facts["most_slots"]
    lanes.groups.clear()
    for i, facts in enumerate(kept.facts["lanes"]):
        lane = _lane(lanes, facts)
        for j, tensor in enumerate(lane.state.stacked()):
            tensor.copy_(kept.tensors[f"{i}:{j}"])
        lanes.groups.setdefault((lane.program, lane.seed), []).append(lane)


def _lane(lanes: Lanes, facts: Mapping[str, Any]) -> Lane:
    members = [None if each is None else _member(lanes, each) for each in facts["members"]]
    module = next(
        _at_width(lanes, each, facts) for each, member in zip(facts["members"], members, strict=True) if member
    )
    program = lanes.architectures.program(module)
    assert program is not None, "it was trained in a lane before"
    if program not in lanes.families:
        lanes.families[program] = lanes.family(module)
    slots = len(members)
    steps = uncompiled(lanes.training.loaded.device) if facts["narrowed"] else lanes.steps
    lane = Lane(program, slots, facts["seed"], steps.of(program, slots))
    lane.members, lane.is_uncompiled = members, facts["narrowed"]
    return lane


def _member(lanes: Lanes, facts: Mapping[str, Any]) -> LaneMember:
    config = config_of_facts(facts)
    module = lanes.training.loaded.study.build(config, facts["seed"])
    shapes = {name: tensor.shape for name, tensor in own_state(module).items()}
    progress = TrialProgress(**facts["progress"])
    padded = lanes.architectures.padded(module)
    settings = OptimizerSettings.of(config)
    return LaneMember(progress.number, config, settings, progress, padded, shapes, facts["seed"], facts["moved"])


def _at_width(lanes: Lanes, member: Mapping[str, Any], lane: Mapping[str, Any]) -> nn.Module:
    """A member's module as wide as its lane, which may be wider than the narrowest that holds it."""
    module = lanes.training.loaded.study.build(config_of_facts(member), member["seed"])
    return lanes.architectures.padded(module, lane["width"] or None)
