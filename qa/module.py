"""`QuestionAnsweringModule`: the model, its loss, its optimizer, and what is logged."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import torch
from lightning import LightningModule
from pydantic import Field
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import AutoConfig, BertForQuestionAnswering, get_scheduler
from transformers.utils import logging as transformers_logging

from qa import UserError
from qa.batches import Batch
from qa.decode import NBestAnswer, Span, add_spans, best_answers, window_spans
from qa.examples import Example
from qa.metrics import SquadMetric


def load_config(pretrained: str) -> Any:
    """The configuration of a folder or a Hub id. Errors: UserError for a model that is not BERT."""
    try:
        config = AutoConfig.from_pretrained(pretrained)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model.pretrained={pretrained}: no model ({str(error).splitlines()[0]})") from None
    if config.model_type != "bert":
        raise UserError(
            f"model.pretrained={pretrained}: a {config.model_type} model, which is not supported; give a BERT"
        )
    return config


def load_model(pretrained: str) -> BertForQuestionAnswering:
    """The model in float32 and in train mode: transformers gives it in eval mode, and Lightning keeps that."""
    # the load report names the new span head, which is no news
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    model: BertForQuestionAnswering = BertForQuestionAnswering.from_pretrained(pretrained, dtype=torch.float32)
    model.train()
    return model


def span_loss(
    start_logits: Tensor, end_logits: Tensor, start_positions: Tensor, end_positions: Tensor, attention_mask: Tensor
) -> Tensor:
    """(Cross-entropy of start + of end) / 2 of every window, float32 [batch].

    Logits: float [batch, length]; positions: int64 [batch]; the softmax runs over attended positions only, so that a
    window's loss does not depend on its neighbours' padding, as it does in `BertForQuestionAnswering`.
    """
    padding = attention_mask == 0
    losses = [
        torch.nn.functional.cross_entropy(logits.float().masked_fill(padding, -torch.inf), positions, reduction="none")
        for logits, positions in ((start_logits, start_positions), (end_logits, end_positions))
    ]
    return (losses[0] + losses[1]) / 2


def parameter_groups(parameters: Iterable[Parameter]) -> list[dict[str, Any]]:
    """Weight decay, where an optimizer has any, on matrices only: not on biases, norms and other vectors."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.ndim > 1]
    vectors = [parameter for parameter in trained if parameter.ndim <= 1]
    return [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]


def schedule(
    optimizer: Optimizer,
    total_steps: int,
    name: Literal["linear", "cosine", "constant"],
    warmup_ratio: Annotated[float, Field(ge=0, le=1)],
) -> LRScheduler:
    """Learning rate by step: straight or along a cosine to 0, or constant, after a linear warm-up of a share of all."""
    kind = "constant_with_warmup" if name == "constant" else name
    scheduler: LRScheduler = get_scheduler(kind, optimizer, round(warmup_ratio * total_steps), total_steps)
    return scheduler


class QuestionAnsweringModule(LightningModule):
    """BERT with a span head. After an evaluation `answers` holds {example id: n-best answers}."""

    def __init__(
        self,
        pretrained: str,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        total_steps: int = 1,
        n_best: int = 20,
        max_answer_length: int = 30,
    ) -> None:
        """`optimizer(parameter_groups)` and `scheduler(optimizer, total_steps)` make what their names say."""
        super().__init__()
        self.pretrained = pretrained
        self.model = load_model(pretrained)
        self.optimizer, self.scheduler, self.total_steps = optimizer, scheduler, total_steps
        self.n_best, self.max_answer_length = n_best, max_answer_length
        self.metric = SquadMetric()
        self.answers: dict[str, list[NBestAnswer]] = {}
        self._candidates: dict[str, list[Span]] = {}
        self._examples: dict[str, Example] = {}

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Start and end logits, float [batch, length] each."""
        names = ("input_ids", "attention_mask", "token_type_ids")
        output = self.model(**{name: batch[name] for name in names})  # type: ignore[literal-required]
        return output.start_logits, output.end_logits

    def _loss(self, logits: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        return span_loss(*logits, batch["start_positions"], batch["end_positions"], batch["attention_mask"]).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._loss(self(batch), batch)
        self.log("loss", loss, on_step=True, on_epoch=False)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["input_ids"]))
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self.log("gradient_norm", torch.nn.utils.get_total_norm(gradients), on_step=True, on_epoch=False)
        self.log("learning_rate", optimizer.param_groups[0]["lr"], on_step=True, on_epoch=False)
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(parameter_groups(self.parameters()))
        scheduler = self.scheduler(optimizer, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _collect(self, logits: tuple[Tensor, Tensor], batch: Batch) -> None:
        spans = window_spans(*logits, batch["context_mask"], self.n_best, self.max_answer_length)
        ids = [example.id for example in batch["examples"]]
        add_spans(self._candidates, ids, batch["offsets"], spans)
        self._examples.update(zip(ids, batch["examples"], strict=True))

    def _decode(self) -> None:
        self.answers = {
            name: best_answers(self._candidates.pop(name), example.context, self.n_best)
            for name, example in sorted(self._examples.items())
        }

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self(batch)
        loss = self._loss(logits, batch)
        self.log("val_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["input_ids"]))
        self._collect(logits, batch)

    def on_validation_epoch_end(self) -> None:
        self._decode()
        predictions = {name: best[0].text if best else "" for name, best in self.answers.items()}
        references = {name: [answer.text for answer in e.answers] for name, e in self._examples.items()}
        self.metric.update(predictions, references)
        self.log_dict(self.metric.compute())
        self.metric.reset()
        self._examples = {}

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self.on_validation_epoch_end()

    def predict_step(self, batch: Batch, batch_idx: int) -> None:
        self._collect(self(batch), batch)

    def on_predict_epoch_end(self) -> None:
        self._decode()
        self._examples = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["pretrained"] = self.pretrained
        checkpoint["rng"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._rng = checkpoint["rng"]

    def on_train_start(self) -> None:
        if hasattr(self, "_rng"):
            torch.set_rng_state(self._rng.cpu())
