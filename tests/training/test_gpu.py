"""What can be known of a run on GPUs where there is none: which way it takes, what it reads, what it mixes."""

import traceback
from collections import Counter
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForQuestionAnswering, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from helpers.training import ADAM, Small, a_history, batches, config_of, train
from qa.data.epochs.batches import EvaluationBatches
from qa.errors import UserError
from qa.model.fast.logits import FAMILIES
from qa.model.fast.micro_batches import MicroBatches
from qa.model.optimization import schedule
from qa.model.pretrained import FLASH, load_model
from qa.sweeps.engines import visible_gpus
from qa.training.callbacks import Metrics
from qa.training.checkpoint_files import SyncedFile
from qa.training.collectives import BACKENDS, RANK_TIMEOUT, connect
from qa.training.devices import check_driver, check_precision, devices_in_words, seed_device
from qa.training.module import QuestionAnsweringModule

FUSED = partial(torch.optim.Adam, lr=1e-3, fused=True)


class Reads(TorchDispatchMode):
    """Counts what the host reads of a tensor's values, by the file of ours or of a library that asks for it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            self.note()
        return function(*arguments, **(named or {}))

    def note(self) -> None:
        files = (Path(frame.filename) for frame in reversed(traceback.extract_stack()))
        self.found[
            next(file.name for file in files if {"qa", "transformers", "lightning", "optim"} & {*file.parts})
        ] += 1


class Counted(lightning.Callback):
    """Keeps the reads of the third step, from its beginning to that of the next."""

    def __init__(self, reads: Reads) -> None:
        self.reads, self.step = reads, Counter[str]()

    def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            self.step = self.reads.found.copy()
        self.reads.found.clear()


class Padded(Small):
    """With the model's own attention, as on a GPU in float32."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.attention = "sdpa"


def test_a_step_reads_its_device_once(
    exact: Path, small_files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU transformers looks at the mask too, and an optimizer that is not fused at its count of steps."""
    reads, tolist = Reads(), torch.Tensor.tolist

    def read(tensor: torch.Tensor) -> Any:
        reads.note()
        return tolist(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", read)
    counted = Counted(reads)
    own = [counted, Metrics(), a_history(tmp_path, steps_per_epoch=4)]
    with reads:
        train(Padded, exact, small_files[0], optimizer=FUSED, callbacks=own, enable_checkpointing=True)
    assert counted.step.pop("masking_utils.py") == 1
    assert counted.step == {"training_steps.py": 1}


def test_a_step_and_an_evaluation_mix_no_tensors_of_the_host_with_those_of_a_device(
    exact: Path, small_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On `meta` both that and any look at a value is an error."""
    monkeypatch.setattr("torch.autocast", lambda *_, **__: nullcontext())  # `meta` has none
    module = QuestionAnsweringModule(str(exact), ADAM, partial(schedule, name="linear", warmup_ratio=0.0)).to("meta")
    dataset, rows = batches(exact, small_files[0]), np.arange(10)
    for batch in (dataset[rows], EvaluationBatches(dataset.windows, dataset.examples, dataset.template)[rows]):
        there: Any = {k: v.to("meta") if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        parts = MicroBatches(4).split(there) if "share" in there else [there]
        for part in parts:
            losses = module.losses(module(part), part)
            (losses * part.get("weight", 1.0)).sum().backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
    torch.nn.utils.clip_grads_with_norm_(module.parameters(), 1.0, norm)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_mask_that_devices_get_is_the_one_transformers_would_make(family: str) -> None:
    model = AutoModelForQuestionAnswering.from_config(config_of(family), attn_implementation="sdpa").eval()
    ids, mask = torch.randint(2, 99, (2, 40)), torch.ones(2, 40, dtype=torch.long)
    mask[1, 25:] = 0
    with torch.no_grad():
        two, four = (model(input_ids=ids, attention_mask=m).start_logits for m in (mask, mask[:, None, None, :].bool()))
    assert torch.equal(two[mask.bool()], four[mask.bool()])


def test_a_seed_gives_the_numbers_of_torchs_own() -> None:
    torch.manual_seed(7)
    expected = torch.rand(9)
    seed_device(7, torch.device("cpu"))
    assert torch.equal(torch.rand(9), expected)


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("device_count", 4), ("is_available", True), ("set_device", None)):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr("lightning.fabric.accelerators.cuda.num_cuda_devices", lambda: 4)
    monkeypatch.setattr("lightning.fabric.accelerators.cuda._check_cuda_matmul_precision", lambda _: None)


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(("devices", "index"), [(2, 1), ([0, 2], 2), ("0,2", 2), (-1, 1), ("auto", 1)])
def test_a_rank_has_the_gpu_that_its_number_means(devices: Any, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # given back after it: the loggers of a second rank do nothing
    trainer = lightning.Trainer(accelerator="gpu", devices=devices, logger=False, enable_checkpointing=False)
    connect(trainer)
    strategy: Any = trainer.strategy
    assert strategy.root_device == torch.device("cuda", index)
    assert isinstance(strategy, DDPStrategy)
    assert strategy.process_group_backend == BACKENDS
    assert strategy._timeout == RANK_TIMEOUT


@pytest.mark.usefixtures("four_gpus")
def test_one_gpu_is_no_group() -> None:
    trainer = lightning.Trainer(accelerator="auto", devices=1, logger=False, enable_checkpointing=False)
    connect(trainer)
    assert isinstance(trainer.strategy, SingleDeviceStrategy)
    assert trainer.strategy.root_device == torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("chosen", "fused"), [({}, True), ({"fused": None}, True), ({"fused": False}, None), ({"foreach": True}, None)]
)
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_an_optimizer_is_fused_unless_another_is_chosen(
    device: str, chosen: dict[str, Any], fused: bool | None, exact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear = partial(schedule, name="linear", warmup_ratio=0.0)
    module = QuestionAnsweringModule(str(exact), partial(torch.optim.Adam, lr=1e-3, **chosen), linear)
    module.trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    monkeypatch.setattr(module.trainer.strategy, "_root_device", torch.device(device))
    assert (module.configure_optimizers()["optimizer"].defaults["fused"] or None) == fused


@pytest.mark.parametrize(
    ("settings", "trainer", "reason"),
    [
        ({}, {"precision": "bf16-mixed"}, ""),
        ({}, {"precision": "bf16-true"}, ""),
        ({}, {"precision": "bf16-mixed", "strategy": "ddp"}, ""),
        ({}, {"precision": "32-true"}, "trainer.precision=32-true"),
        ({}, {"precision": "bf16-mixed", "strategy": ModelParallelStrategy()}, "trainer=sharded"),
        ({"gradient_checkpointing": True}, {"precision": "bf16-mixed"}, "model.gradient_checkpointing=true"),
        ({"attention": "sdpa"}, {"precision": "bf16-mixed"}, "an attention that needs padding"),
    ],
)
@pytest.mark.usefixtures("four_gpus")
def test_what_goes_kernel_by_kernel_on_a_gpu_is_said(
    settings: dict[str, Any], trainer: dict[str, Any], reason: str, exact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    linear = partial(schedule, name="linear", warmup_ratio=0.0)
    module = QuestionAnsweringModule(str(exact), ADAM, linear, **settings)
    made = lightning.Trainer(accelerator="gpu", devices=1, logger=False, enable_checkpointing=False, **trainer)
    assert module.why_no_graphs(made) == reason
    shown = devices_in_words(made, "high", reason)
    said = f"; steps go kernel by kernel because of {reason}: CUDA graphs are faster"
    assert shown.startswith(f"cuda, precision {made.precision}")
    assert shown.endswith(said) == bool(reason) == ("kernel by kernel" in shown)


def asked(accelerator: str = "auto", attention: str = "auto", precision: str = "32-true") -> Any:
    """Settings, as far as devices are concerned."""
    trainer = {"accelerator": accelerator, "precision": precision}
    return SimpleNamespace(trainer=trainer, model={"attention": attention})


def test_gpus_that_torch_cannot_use_are_named_before_any_data_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a driver that is older than torch's CUDA."""
    check_driver(asked())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"cannot use this machine's GPUs; update their driver, .*accelerator=cpu"):
        check_driver(asked())
    check_driver(asked("cpu"))


def test_flash_attention_is_refused_where_it_does_not_compute() -> None:
    gpu = torch.device("cuda", 0)
    for precision in ("bf16-mixed", "16-mixed", "bf16-true"):
        check_precision(asked(attention="flash", precision=precision), gpu)
    for device, precision in ((gpu, "32-true"), (torch.device("cpu"), "bf16-mixed")):
        check_precision(asked(precision=precision), device)
        with pytest.raises(UserError, match=r"model\.attention=flash: .*take trainer\.precision=bf16-mixed"):
            check_precision(asked(attention="flash", precision=precision), device)


def test_a_model_is_tried_on_the_cpu_before_it_gets_flash_attention(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flash(*_: Any, **__: Any) -> Any:
        raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.")

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, FLASH, flash)
    monkeypatch.setattr(PreTrainedModel, "_flash_attn_can_dispatch", lambda *_, **__: True)
    monkeypatch.setattr("transformers.modeling_utils.lazy_import_flash_attention", lambda *_, **__: None)
    model = load_model(str(tiny), attention="flash").model
    assert model.config._attn_implementation == FLASH
    ids = torch.ones(1, 8, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="FlashAttention"):
        model(ids)


def test_parts_of_a_gpu_are_told_apart_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA shows a process the first of them alone."""
    for given, count, expected in (
        ("MIG-1,MIG-2", 1, ["MIG-1", "MIG-2"]), ("2,3,9", 2, ["2", "3"]), ("", 2, ["0", "1"]), ("MIG-1", 0, []),
    ):  # fmt: skip
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert visible_gpus() == expected


def test_several_jobs_cannot_each_have_a_list_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    launcher = import_module("hydra_plugins.qa_sweeps").LocalLauncher(n_jobs=2)
    launcher.config = OmegaConf.create({"trainer": {"accelerator": "gpu", "devices": [0, 2]}})
    with pytest.raises(UserError, match=r"n_jobs=2: each job gets GPUs of its own, .*\[0, 2\] must be their number"):
        launcher.engine(Path())


def test_a_gpu_that_failed_is_not_called_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*_: Any) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered", 700)

    monkeypatch.setattr(torch, "save", save)
    file = SyncedFile()
    file.save_checkpoint({}, tmp_path / "last.tmp")
    with pytest.raises(torch.AcceleratorError):
        file.wait()
    assert not (tmp_path / "last.tmp").exists()


def mixed(scale: float, precision: Any = "16-mixed") -> MixedPrecision:
    """As on a GPU: lightning refuses both on a CPU, or takes no scaler."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale) if precision == "16-mixed" else None
    return MixedPrecision(precision, "cpu", scaler)


def test_a_fused_optimizer_clips_and_steps_as_another_in_mixed_precision(
    exact: Path, small_files: tuple[Path, Path]
) -> None:
    """Gradients are looked at, and clipped, as they are without the scale of 16-mixed."""
    for precision in ("bf16-mixed", "16-mixed"):
        plain, steps = train(Small, exact, small_files[0], plugins=[mixed(2.0**10, precision)])
        fused, steps2 = train(Small, exact, small_files[0], plugins=[mixed(2.0**10, precision)], optimizer=FUSED)
        for step, step2 in zip(steps, steps2, strict=True):
            assert step2 == pytest.approx(step, rel=1e-3)
            assert step[1] < 20
        assert (plain.nonfinite_steps, fused.nonfinite_steps) == (0, 0)


@pytest.mark.parametrize("optimizer", [ADAM, FUSED])
def test_a_step_that_a_gradient_scaler_leaves_out_is_counted(
    optimizer: Any, exact: Path, small_files: tuple[Path, Path]
) -> None:
    start = QuestionAnsweringModule(str(exact), ADAM, partial(schedule, name="linear", warmup_ratio=0.0)).state_dict()
    module, steps = train(Small, exact, small_files[0], steps=1, plugins=[mixed(2.0**40)], optimizer=optimizer)
    assert (module.nonfinite_steps, module.loss_windows) == (1, 10)
    assert not np.isfinite(steps[0][1])
    assert all(torch.equal(weight, start[name]) for name, weight in module.state_dict().items())


class Broken(Small):
    """Its gradients are never finite, whatever the scale."""

    def losses(self, logits: tuple[torch.Tensor, torch.Tensor], batch: Any) -> torch.Tensor:
        losses = super().losses(logits, batch)
        losses.register_hook(lambda gradient: gradient * torch.nan)
        return losses


def test_gradients_that_no_scale_makes_finite_end_the_run(exact: Path, small_files: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"step 3: the loss is 4\.\d+, the gradient norm nan"):
        train(Broken, exact, small_files[0], plugins=[mixed(4.0)])


def test_logits_are_as_fine_as_the_weights_under_bf16_mixed(exact: Path, small_files: tuple[Path, Path]) -> None:
    module = QuestionAnsweringModule(str(exact), ADAM, partial(schedule, name="linear", warmup_ratio=0.0)).eval()
    with torch.autocast("cpu", torch.bfloat16):
        start, _ = module(batches(exact, small_files[0])[np.arange(10)])
    assert start.dtype == torch.float32
    assert not torch.equal(start, start.bfloat16().float())


def test_weights_of_windows_are_exact_in_bf16_true(exact: Path, small_files: tuple[Path, Path]) -> None:
    """1/13 in bfloat16 is 0.3% too much."""
    _, (step, *_) = train(Small, exact, small_files[0], precision="bf16-true", size=3)
    _, (step2, *_) = train(Small, exact, small_files[0], size=3)
    assert step[0] == pytest.approx(step2[0], rel=1e-3)
