"""Modules by task, whose names may be any text: a `nn.ModuleDict` refuses dots and the names of its own methods."""

from collections.abc import ItemsView, Iterator, KeysView, Mapping
from urllib.parse import quote

from torch import nn


class TaskModules(nn.ModuleDict):
    """An `nn.ModuleDict` by task, for the heads of a model of your own: a task's name may be any text.

    A task of letters, digits, '_' and '-' has its own name among the parameters, as in a `nn.ModuleDict`; other
    characters are percent-encoded there.
    """

    def __init__(self, modules: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__()
        self.module_names: dict[str, str] = {}
        self.update(modules or {})

    def __getitem__(self, task: str) -> nn.Module:
        module = self._modules[self.module_names[task]]
        assert module is not None
        return module

    def __setitem__(self, task: str, module: nn.Module) -> None:
        # The name is kept: torch.compile could not follow its encoding.
        name = self.module_names[task] = module_name(task)
        self.add_module(name, module)

    def __delitem__(self, task: str) -> None:
        del self._modules[self.module_names.pop(task)]

    def __contains__(self, task: object) -> bool:
        return task in self.module_names

    def __iter__(self) -> Iterator[str]:
        return iter(self.module_names)

    def clear(self) -> None:
        super().clear()
        self.module_names.clear()

    def keys(self) -> KeysView[str]:
        return self.module_names.keys()

    def items(self) -> ItemsView[str, nn.Module]:
        return {task: self[task] for task in self.module_names}.items()


def outputs_of(heads: TaskModules) -> dict[str, int]:
    """The outputs of each task's linear head."""
    sizes = {}
    for task, head in heads.items():
        assert isinstance(head, nn.Linear)
        sizes[task] = head.out_features
    return sizes


def module_name(task: str) -> str:
    """The name of a task's module among a model's parameters, a different one for each task."""
    name = quote(task, safe="").replace(".", "%2E").replace("~", "%7E")
    return f"%{ord(name[0]):02X}{name[1:]}" if name in TAKEN else name


TAKEN = frozenset(dir(TaskModules()))  # `keys`, `training` and the like
