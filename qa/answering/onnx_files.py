"""A model → files for ONNX Runtime or OpenVINO, in float32 or with matrix products of int8."""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qa.answering.engines import EXPORTED_FILES, INSTALL, Engine, LogitsOf, load_onnx, load_openvino
from qa.errors import UserError, first_line

# the first has attention as one operator; it also has ModernBERT's positions as one, with which onnxruntime 1.32 fails
OPSETS = (23, 20)
CLOSE = 1e-4  # of logits
OUTPUTS = ("start_logits", "end_logits")
NEEDED = ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf")

WindowInputs = Sequence[dict[str, Any]]  # inputs, an int64 array [1, length] by name


class Logits(nn.Module):
    """A model that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """int64 [batch, length] each → start and end logits, float [batch, length] each."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, **types)
        return output.start_logits, output.end_logits


def check_installed() -> None:
    """Errors: UserError where a package is missing that an export needs."""
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"the package {name} is not installed; {INSTALL}")


def write_onnx(engine: Engine, folder: Path, longest: int) -> Path:
    """Writes `model.onnx`, for any batch and length; its logits are the model's within CLOSE.

    `longest`: tokens of a window. Large models have their weights beside it, in `model.onnx.data`.

    Errors: UserError for a model that cannot be exported so.
    """
    path, problem = folder / EXPORTED_FILES["onnx"], ""
    for opset in OPSETS:
        try:
            with _quiet():
                _export(engine, path, opset)
                difference = _difference(engine, load_onnx(path).logits, longest)
        except Exception as error:  # the exporter and its libraries have kinds of their own
            problem = problem or first_line(error)
            continue
        if difference < CLOSE:
            return path
        problem = problem or f"its logits differ by {difference:.1g}"
    kind = engine.model.config.model_type
    raise UserError(f"a {kind} model cannot be exported by torch {torch.__version__} ({problem}); answer with itself")


def _export(engine: Engine, path: Path, opset: int) -> None:
    examples = tuple(torch.ones(2, 32, dtype=torch.long) for _ in engine.inputs)  # one tensor would be one input
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        Logits(engine.model).eval(), examples, dynamo=True, opset_version=opset, input_names=list(engine.inputs),
        dynamic_shapes=(dynamic,) * len(examples), output_names=list(OUTPUTS),
    )  # fmt: skip
    assert program is not None
    program.save(path)


def _difference(engine: Engine, logits: LogitsOf, longest: int) -> float:
    """The largest difference between logits of real tokens, NaN where one is, over batches of several shapes."""
    generator, differences = torch.Generator().manual_seed(0), []
    padding, tokens = engine.model.config.pad_token_id or 0, engine.model.config.vocab_size
    for shape, shortest in (((1, min(9, longest)), 9), ((3, min(40, longest)), 25), ((2, min(170, longest)), 90)):
        mask = torch.ones(shape, dtype=torch.long)
        mask[0, shortest:] = 0
        ids = torch.randint(0, tokens, shape, generator=generator)
        ids = ids.where(ids != padding, (padding + 1) % tokens).where(mask == 1, padding)
        tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(mask)}
        inputs = {name: tensors[name] for name in engine.inputs}
        pairs = zip(engine.logits(inputs), logits(inputs), strict=True)
        differences += [(one - other)[mask == 1].abs().max() for one, other in pairs]
    return float(torch.stack(differences).max())


def write_openvino(path: Path) -> Path:
    """`model.onnx` → `openvino_model.xml` and its weights, beside it and instead of it."""
    import openvino

    model, target = openvino.Core().read_model(path), path.with_name(EXPORTED_FILES["openvino"])
    openvino.save_model(model, target, compress_to_fp16=False)
    del model  # it reads the files
    path.unlink()
    return target


def check_openvino(engine: Engine, path: Path, longest: int) -> None:
    """Errors: UserError where the logits are not the model's within CLOSE."""
    difference = _difference(engine, load_openvino(path).logits, longest)
    if not difference < CLOSE:
        raise UserError(f"OpenVINO's logits differ by {difference:.1g} from the model's; take --to onnx")


def quantize_dynamic(path: Path, _: WindowInputs) -> None:
    """Makes int8 of all but the span head: weights by channel, inputs by the values of each batch."""
    from onnxruntime import quantization

    with _quiet():
        quantization.quantize_dynamic(
            path, path, per_channel=True, weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"], nodes_to_exclude=_heads(path),
        )  # fmt: skip


def quantize_static(path: Path, windows: WindowInputs) -> None:
    """Makes int8 of all but the span head: weights by channel, inputs by the values in `windows`.

    Outliers move into the weights first (SmoothQuant); attention stays one operator, in float32. NNCF's bias correction
    costs EM here.
    """
    import nncf
    import onnx
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters

    with _quiet():
        model = nncf.quantize(
            onnx.load(path), nncf.Dataset(windows), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(windows),
            ignored_scope=nncf.IgnoredScope(names=_heads(path)),
            advanced_parameters=AdvancedQuantizationParameters(disable_bias_correction=True),
        )  # fmt: skip
        onnx.save(model, path)


QUANTIZE: dict[str, dict[str, Callable[[Path, WindowInputs], None]]] = {  # the fastest first
    "onnx": {"dynamic": quantize_dynamic, "static": quantize_static},
    "openvino": {"static": quantize_static},
}


def _heads(path: Path) -> list[str]:
    """The matrix product before the logits: its outputs are compared with each other."""
    import onnx

    nodes = onnx.load(path, load_external_data=False).graph.node
    return [[node.name for node in nodes if node.op_type in ("MatMul", "Gemm")][-1]]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporters: they print and log things that no user can change."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
