"""Engines, which compute the logits of windows: PyTorch, or ONNX Runtime or OpenVINO with files of `qa.export`."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qa.data.epochs.batches import INPUTS
from qa.errors import UserError, first_line
from qa.hub import local_folder
from qa.model.pretrained import load_model

EXPORTED_FILES = {"onnx": "model.onnx", "openvino": "openvino_model.xml"}
TORCH_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")  # a folder that has them is computed by PyTorch
PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}  # of OpenVINO
INSTALL = "pip install --no-deps -r requirements-export.lock"

# inputs, int64 [batch, length] each, by their names → start and end logits, float [batch, length] each
LogitsOf = Callable[[Mapping[str, Tensor]], tuple[Tensor, Tensor]]


class Engine(NamedTuple):
    """A model that is ready to compute."""

    name: str  # torch, onnx or openvino
    logits: LogitsOf
    inputs: tuple[str, ...]
    device: torch.device
    trained_head: bool
    model: Any  # the engine's own


def load_engine(pretrained: str, device: str, dtype: str) -> Engine:
    """Loads the engine of a model's folder, by the files in it, or of a hub's model. Errors: UserError."""
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
        raise UserError(f"dtype={dtype}: no kind of number to compute with; give float32, bfloat16 or float16")
    folder = local_folder(pretrained)
    if folder and any(path for pattern in TORCH_WEIGHTS for path in folder.glob(pattern)):
        return _load_torch(pretrained, device, kind)
    for load, file in ((load_onnx, EXPORTED_FILES["onnx"]), (load_openvino, EXPORTED_FILES["openvino"])):
        if folder and (path := folder / file).is_file():
            if device not in ("auto", "cpu"):
                raise UserError(f"device={device}: {path} runs on the CPU; give cpu, or the model it was made of")
            try:
                engine = load(path, kind)
            except UserError:
                raise
            except ImportError:
                raise UserError(f"{path}: needs packages that are not installed; {INSTALL}") from None
            except Exception as error:  # each library has kinds of its own
                raise UserError(f"{path}: cannot be read ({first_line(error)}); export it again") from None
            if unknown := set(engine.inputs) - set(INPUTS):
                names = ", ".join(sorted(unknown))
                raise UserError(f"{path}: also takes {names}; export the model by python -m qa.export")
            return engine
    return _load_torch(pretrained, device, kind)


def _load_torch(pretrained: str, device: str, kind: torch.dtype) -> Engine:
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    loaded = load_model(pretrained)
    model: Any = loaded.model.eval()
    try:
        model.to(torch.device(chosen), kind)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={device}: {first_line(error)}; give cpu, or cuda on a machine with a GPU") from None

    def logits(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            output = model(**inputs)
        return output.start_logits, output.end_logits

    return Engine("torch", logits, loaded.inputs, torch.device(chosen), loaded.trained_head, model)


def load_onnx(path: Path, kind: torch.dtype = torch.float32) -> Engine:
    """Opens a session of ONNX Runtime."""
    import onnxruntime

    if kind != torch.float32:
        raise UserError(f"dtype={_name(kind)}: {path} computes as it was exported; give float32")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what goes wrong is raised, too
    broken = ["QDQPropagationTransformer"]  # from opset 21 on it takes int8 for uint8, and fails
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"], disabled_optimizers=broken
    )

    def logits(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        start, end = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        return torch.from_numpy(start), torch.from_numpy(end)

    inputs = tuple(part.name for part in session.get_inputs())
    return Engine("onnx", logits, inputs, torch.device("cpu"), True, session)


def load_openvino(path: Path, kind: torch.dtype = torch.float32) -> Engine:
    """Compiles a model for this CPU by OpenVINO; each thread has a request of its own."""
    import openvino

    if kind not in PRECISIONS:
        raise UserError(f"dtype={_name(kind)}: OpenVINO has float32 and bfloat16; give one of them")
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",  # all threads for one batch
        "INFERENCE_PRECISION_HINT": PRECISIONS[kind],
    }
    model = openvino.Core().compile_model(path, "CPU", settings)
    local = threading.local()

    def logits(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        if not hasattr(local, "request"):
            local.request = model.create_infer_request()
        outputs = local.request.infer({name: value.numpy() for name, value in inputs.items()})
        start, end = (torch.from_numpy(np.array(outputs[part])) for part in model.outputs)
        return start, end

    inputs = tuple(part.any_name for part in model.inputs)
    return Engine("openvino", logits, inputs, torch.device("cpu"), True, model)


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
