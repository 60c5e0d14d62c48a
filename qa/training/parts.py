"""`Parts`: the parts of a run, its plan before it begins, and its report at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning import Trainer

from qa.config.settings import Settings
from qa.data.datamodule import SquadDataModule
from qa.data.reading.sources import Split
from qa.data.windows.vocabulary import broken_words
from qa.evaluation.answers import NBestAnswer, Question
from qa.evaluation.ceiling import ceiling
from qa.evaluation.languages import language_figures
from qa.model.answering import Answering
from qa.review.card import model_name
from qa.review.first_screen import PlannedSplit, RunPlan
from qa.review.report import RunReport
from qa.review.run_page import try_page
from qa.review.terminal import show_end
from qa.runs.disk import check_disk, disk_needed
from qa.runs.folder import RunFolder
from qa.runs.identity import dotted, is_recipe
from qa.runs.results import EvaluatedPart, PerSplit, Results, Row
from qa.runs.results_table import counted
from qa.runs.weights import LENGTHS
from qa.statistics.calibration import Calibrated
from qa.tracking.loggers import Wandb
from qa.training.callbacks import Metrics
from qa.training.devices import devices_in_words, hardware, lost_updates, unused_options
from qa.training.history import History
from qa.training.module import QuestionAnsweringModule


@dataclass(frozen=True)
class Parts:
    """The parts of a run that its stage works with."""

    settings: Settings
    run: RunFolder
    command: str  # that repeats the run
    data: SquadDataModule
    module: QuestionAnsweringModule
    trainer: Trainer
    history: History
    metrics: Metrics
    checkpoint: Path | None  # to resume from, or to evaluate
    answering: Answering  # of the weights that are evaluated; of a fit the defaults
    splits: tuple[Split, ...]  # the last one is evaluated

    def record_inputs(self) -> None:
        """Writes the skipped and repaired records into the run folder and hands the configuration to the loggers."""
        if self.trainer.is_global_zero:
            self.data.write_lists(self.run.path)
        fingerprints = {name: split.fingerprint for name, split in self.data.splits.items()}
        for logger in self.trainer.loggers:
            logger.log_hyperparams({**self.settings.model_dump(), "fingerprints": fingerprints})

    @cached_property
    def plan(self) -> RunPlan:
        """The run before it begins; warns where the disk is too small for it."""
        settings, data, module, trainer = self.settings, self.data, self.module, self.trainer
        parameters, name = sum(p.numel() for p in module.parameters()), model_name(module.pretrained)
        longest, fitting = settings.decode.max_answer_length, settings.stage == "fit"
        ceilings = {name: ceiling(split.examples, split.windows, longest) for name, split in data.splits.items()}
        last = data.splits[self.splits[-1]]
        eager = module.why_no_graphs(trainer) if fitting else ""
        disk = disk_needed(parameters, settings.checkpoint.keep, settings.checkpoint.optimizer_state == "last")
        rate = settings.optimizer.get("lr", 1.0) if fitting else 1.0
        padded = data.padded_share() if fitting else None
        return RunPlan(
            model=name,
            parameters=parameters,
            trained_head=module.trained_head,
            splits={split: self._planned(split) for split in self.splits},
            limit=data.sources.limit,
            evaluated=EvaluatedPart(questions=len(last.evaluated_examples()), of=last.example_count()),
            lengths="" if fitting else self._other_lengths(),
            ceilings={split: figures for split, figures in ceilings.items() if figures},
            max_answer_length=longest,
            epoch=data.epoch_in_words() if fitting else "",
            steps="" if padded is None else self._steps(padded),
            padded_share=padded,
            disk=check_disk(self.run.path, disk) if fitting else "",
            device=devices_in_words(trainer, settings.matmul_precision, eager),
            output=self.run.path,
            sends=next((logger.sends() for logger in trainer.loggers if isinstance(logger, Wandb)), ""),
            problems={
                "trainer.strategy": unused_options(settings.trainer["strategy"]),
                f"trainer.precision={trainer.precision}": lost_updates(module.parameters(), trainer.precision, rate),
                f"model.pretrained={name}": broken_words(data.tokenizer, last.windows, last.examples),
            },
        )

    def _planned(self, split: Split) -> PlannedSplit:
        part, source = self.data.splits[split], self.data.sources.in_words(split)
        unanswerable = sum(example.is_impossible for example in part.examples)
        return PlannedSplit(source, part.example_count(), unanswerable, len(part.windows))

    def _other_lengths(self) -> str:
        """The lengths of an evaluation that are not its model's, in words; empty where all are."""
        settings, model = dotted(self.settings.model_dump(include={"data", "decode"})), self.answering
        usual = {key: getattr(model, name) for name, key in LENGTHS.items() if name in model.model_fields_set}
        others = {key: value for key, value in usual.items() if settings[key] != value}
        return ", ".join(f"{key}={settings[key]} (the model's own: {value})" for key, value in others.items())

    def _steps(self, padded: float) -> str:
        """Steps and batches in words, such as "16,665 in 3 epochs", and the published steps for the same recipe."""
        data, history, trainer, total = self.data, self.history, self.trainer, self.module.total_steps
        epochs = total / history.steps_per_epoch
        text = f"{total:,} in {epochs:.3g} {'epoch' if epochs == 1 else 'epochs'}"
        if is_recipe(history.identity):
            text += f" of {history.steps_per_epoch:,} (the published run: 5,555)"
        if trainer.check_val_every_n_epoch is None:
            text += f", an evaluation every {trainer.val_check_interval:,} steps"
        batches = f"batches of {counted(data.batch_size, 'window')}, {data.batching}"
        return f"{text}; {batches}, {padded:.1%} of the tokens padding"

    def report(
        self,
        rows: list[Row],
        best: Row | None,
        calibration: Calibrated | None,
        answers: Mapping[str, Sequence[NBestAnswer]],
        questions: Sequence[Question],
    ) -> RunReport:
        """The report of the run at its end; `calibration`, `answers` and `questions`, by id: of the best row."""
        plan, data, module, metrics = self.plan, self.data, self.module, self.metrics
        kept, device = module.no_answer_threshold, hardware(self.trainer.strategy.root_device)
        threshold = kept if self.settings.stage == "predict" else (kept or 0.0) if best and best.is_v2 else None
        names: dict[str, Any] = {split: "train" if split == "train" else "validation" for split in self.splits}
        windows = {names[s]: data.epoch_size() if s == "train" else split.windows for s, split in plan.splits.items()}
        results = Results(
            epochs=rows,
            best=best,
            windows=PerSplit(**windows),
            examples=PerSplit(**{names[s]: split.questions for s, split in plan.splits.items()}),
            windows_per_second=PerSplit(**metrics.per_second()),
            devices=self.trainer.world_size,
            padded_share=plan.padded_share,
            hardware=device,
            trained_head=module.trained_head,
            seconds=sum(metrics.seconds.values()),
            fingerprints={name: split.fingerprint for name, split in data.splits.items()},
            skipped={name: dict(split.skipped) for name, split in data.splits.items()},
            repaired={name: dict(split.repaired) for name, split in data.splits.items()},
            ceiling=dict(plan.ceilings),
            nonfinite_steps=module.nonfinite_steps,
            evaluated=plan.evaluated,
            by_language=language_figures(questions) if best else {},
            overlap=data.shared,
            no_answer_threshold=threshold,
            calibration=calibration,
            identity=self.history.final_identity(),
            schedule_changes=self.history.schedule_changes,
            about={
                "model": plan.model,
                **{name: split.source for name, split in plan.splits.items()},
                **({"epoch": plan.epoch} if plan.epoch else {}),
                "command": self.command,
                "finished": f"{datetime.now():%F %H:%M}, on {self.trainer.world_size} x {device}",
                "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "transformers")),
            },
        )
        return RunReport(self.run, results, questions, answers)

    def finish(self, report: RunReport) -> None:
        """Writes the results, which finishes the run, then the page; shows them; W&B gets the end."""
        report.write()
        try_page(report)
        show_end(report)
        for logger in self.trainer.loggers:
            if isinstance(logger, Wandb):
                logger.log_end(report, self.settings.seed)
