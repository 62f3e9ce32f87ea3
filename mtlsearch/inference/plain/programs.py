"""A network as a program of its own: torch.export, and ONNX."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mtlsearch.errors import UsageError
from mtlsearch.inference.trained import TrainedModel

Run = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]  # {task: inputs} to {task: outputs}


class Program(nn.Module):
    """A model that takes one tensor where all tasks take the same inputs, else one per task; {task: output}.

    It takes raw inputs, as `predict` does. `given` are inputs to trace it with.
    """

    def __init__(self, model: TrainedModel, given: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model, self.tasks = model.eval(), list(model.tasks)
        self.is_one = len({id(x) for x in given.values()}) == 1
        self.given = self.arguments(given)
        self.names = ["input"] if self.is_one else [f"input: {task}" for task in self.tasks]

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        by_task = dict.fromkeys(self.tasks, inputs[0]) if self.is_one else dict(zip(self.tasks, inputs, strict=True))
        outputs: dict[str, Tensor] = self.model(by_task)
        return outputs

    def arguments(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Its arguments of {task: inputs}."""
        every = tuple(inputs[task] for task in self.tasks)
        return every[:1] if self.is_one else every

    def exported(self) -> torch.export.ExportedProgram:
        """The program as torch.export traces it, for batches of any size."""
        batch = torch.export.Dim("batch")
        with torch.no_grad():
            return torch.export.export(self, self.given, dynamic_shapes=(tuple({0: batch} for _ in self.given),))


def write_torch(program: Program, folder: Path) -> Run:
    """Write what `torch.export.load` reads."""
    path = folder / FORMATS["torch-export"].file
    torch.export.save(program.exported(), path)
    read: Any = torch.export.load(path).module()
    return lambda inputs: dict(read(*program.arguments(inputs)))


def write_onnx(program: Program, folder: Path) -> Run:
    """Write what ONNX Runtime and others read."""
    import onnxruntime

    path = folder / FORMATS["onnx"].file
    made = torch.onnx.export(
        program.exported(), input_names=program.names, output_names=program.tasks, dynamo=True, verbose=False
    )
    assert made is not None
    made.save(str(path))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        arrays = (x.numpy() for x in program.arguments(inputs))
        outputs = session.run(program.tasks, dict(zip(program.names, arrays, strict=True)))
        return {task: torch.from_numpy(output) for task, output in zip(program.tasks, outputs, strict=True)}

    return run


class Format(NamedTuple):
    """A form of the network: its file, how it is written, and the packages that this needs."""

    file: str
    write: Callable[[Program, Path], Run]
    needs: tuple[str, ...] = ()


FORMATS = {
    "torch-export": Format("model.pt2", write_torch),
    "onnx": Format("model.onnx", write_onnx, ("onnx", "onnxscript", "onnxruntime")),
}


def check_format(format: str | None) -> None:
    """Raise UsageError where a package is missing that a format needs."""
    from importlib.util import find_spec

    missing = [] if format is None else [name for name in FORMATS[format].needs if find_spec(name) is None]
    if missing:
        raise UsageError(f"--format {format} needs {missing[0]}: pip install 'mtlsearch[{format}]'")
