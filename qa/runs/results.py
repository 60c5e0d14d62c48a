"""`results.json`: the figures of a run."""

import math
import re
import shlex
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, computed_field
from pydantic_core import PydanticCustomError

from qa.data.reading.overlap import Overlap
from qa.errors import UserError
from qa.evaluation.ceiling import Ceiling
from qa.evaluation.languages import LanguageFigures, LanguageGap, gap_to, mean_of_languages
from qa.runs.folder import RunFolder, is_run
from qa.runs.identity import is_trained_on, question_hashes
from qa.statistics.calibration import Calibrated

METRICS = {"exact_match": "EM", "f1": "F1"}  # of the answers


def check_monitor(monitor: str) -> str:
    """The name of a figure. Errors: PydanticCustomError (a ValueError)."""
    if not re.fullmatch("val_loss|(exact_match|f1)(_mean|_[a-z]{2,3})?", monitor):
        raise PydanticCustomError("monitor", "val_loss, exact_match, f1, or of languages f1_mean, f1_de and so on")
    return monitor


Monitor = Annotated[str, AfterValidator(check_monitor)]  # what makes an epoch, or a job, the best


def metric_of(monitor: Monitor) -> tuple[str, str]:
    """The metric and its language, or "mean": f1_de is ("f1", "de"), f1 is ("f1", "")."""
    name = next((name for name in METRICS if monitor.startswith(name)), monitor)
    return name, monitor.removeprefix(name).removeprefix("_")


def monitor_in_words(monitor: Monitor) -> str:
    """A monitor in words: "validation loss", "F1", "F1 of de", "F1 as the mean of the languages"."""
    name, language = metric_of(monitor)
    words = {"": "", "mean": " as the mean of the languages"}
    return METRICS.get(name, "validation loss") + words.get(language, f" of {language}")


V2Figure = Annotated[float | None, Field(exclude_if=lambda value: value is None)]  # SQuAD v1.1 does not have the key


class Row(BaseModel):
    """One evaluation. Losses are means over windows, EM and F1 percent over questions; None: not measured.

    Of several languages it also has `exact_match_de`, `f1_de` and so on, and their means: see `figures_by_language`.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]
    epoch: int | float | None = None  # a fraction where it was cut short
    step: int | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    exact_match: float | None = None
    f1: float | None = None
    # of SQuAD v2, under the names of the official evaluate-v2.0.py
    HasAns_exact: V2Figure = None
    HasAns_f1: V2Figure = None
    NoAns_exact: V2Figure = None
    NoAns_f1: V2Figure = None
    best_exact: V2Figure = None
    best_exact_thresh: V2Figure = None
    best_f1: V2Figure = None
    best_f1_thresh: V2Figure = None
    kept_threshold: V2Figure = None  # which gives the best F1 when it is applied: `qa.json` has that of the best epoch

    @property
    def is_v2(self) -> bool:
        """Whether some of the evaluated questions have no answer."""
        return self.NoAns_exact is not None

    @property
    def threshold(self) -> float | None:
        """The threshold of a model of this row; rows of earlier versions have the official one alone."""
        return self.best_f1_thresh if self.kept_threshold is None else self.kept_threshold


V2_FIGURES = tuple(name for name in Row.model_fields if "Ans_" in name or name.startswith("best_"))


class PerSplit(BaseModel):
    """A figure for training and one for evaluation; None where the stage has no such part."""

    train: float | int | None = None
    validation: float | int | None = None


def chosen_here(what: str, run: str = "RUN") -> str:
    """The note below a table, where its best `what` was chosen on the very questions that it shows."""
    return (
        f"These questions were also used to choose the best {what}, so its figures are a little too good. On other"
        f" questions: python train.py stage=test data=local data.test_file=FILE model.pretrained={run}/model"
    )


TRAINED_ON = "The model was trained on these questions, or some of them: the figures may show memory."


class EvaluatedPart(BaseModel):
    """The numbers of evaluated questions and of all; `trainer.limit_val_batches` and others take a part."""

    questions: int
    of: int

    def note(self) -> str:
        """A note for readers of the figures; empty where all questions were evaluated."""
        part = f"Evaluated on {self.questions:,} of {self.of:,} questions, drawn at random."
        return part if self.questions < self.of else ""


class Results(BaseModel):
    """`results.json`: written after all but the pages, so that a folder with it is a finished run."""

    epochs: list[Row]
    best: Row | None
    windows: PerSplit
    examples: PerSplit
    windows_per_second: PerSplit
    devices: int
    padded_share: float | None = None
    hardware: str = ""
    trained_head: bool | None = None  # whether the model answered questions before the run; None: not recorded
    seconds: float | None = None  # of training and evaluations, over all starts
    fingerprints: dict[str, str] = {}  # of each split's content, tokenizer and window settings
    skipped: dict[str, dict[str, int]] = {}
    repaired: dict[str, dict[str, int]] = {}  # answers, by kind; data.on_bad_record=repair
    ceiling: dict[str, Ceiling] = {}  # of each split with answers
    nonfinite_steps: int = 0  # skipped by nonfinite=skip, or by the gradient scaler of 16-mixed
    evaluated: EvaluatedPart | None = None
    by_language: dict[str, LanguageFigures] = {}  # of the best row, by code
    overlap: Overlap | None = None  # of training and validation
    no_answer_threshold: V2Figure = None  # above which null odds a question got no answer
    calibration: Annotated[Calibrated | None, Field(exclude_if=lambda value: value is None)] = None
    schedule_changes: list[dict[str, int]] = []  # at which step a resumed run was made longer or shorter
    identity: dict[str, Any] = {}  # what made it: settings, content of its inputs, code, versions
    about: dict[str, str] = {}  # for the head of the run's page

    @computed_field  # type: ignore[prop-decorator]
    @property
    def language_mean(self) -> LanguageFigures | None:
        """The mean of several languages."""
        return mean_of_languages(self.by_language.values()) if len(self.by_language) > 1 else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def language_gap(self) -> LanguageGap | None:
        """The gap of the other languages to that of the training data, where that is known to be one."""
        languages = self.identity.get("trained", self.identity).get("languages", [])
        return gap_to(languages[0], self.by_language) if len(languages) == 1 else None

    @property
    def monitor(self) -> Monitor | None:
        """The figure that made the best epoch of a fit the best; None where there is no choice."""
        monitor: Monitor | None = self.identity.get("settings", {}).get("checkpoint.monitor")
        return monitor if self.windows.train and len(self.epochs) > 1 else None

    def chosen(self, folder: Path) -> str:
        """A note on what a run's own questions chose, the best epoch above all; empty where that is nothing."""
        if self.windows.train:
            short = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
            return chosen_here("epoch", shlex.quote(str(short))) if len(self.epochs) > 1 else ""
        chosen_on = self.identity.get("chosen_on")
        if chosen_on is None and "trained" in self.identity:  # an earlier version's
            chosen_on = {"epoch": question_hashes(self.identity["trained"], "validation")}
        read = question_hashes(self.identity, self._split)
        chosen = [choice for choice, questions in (chosen_on or {}).items() if not set(questions).isdisjoint(read)]
        return chosen_here(" and ".join(chosen)) if chosen else ""

    @property
    def memory(self) -> str:
        """A note on the overlap with training, also with that of a fit's base model; empty where unknown."""
        if self.overlap and (note := self.overlap.note()):
            return note
        before = self.identity.get("trained") or self.identity.get("base", {})
        return TRAINED_ON if is_trained_on(self.identity, self._split, before) else ""

    @property
    def _split(self) -> str:
        """The evaluated split."""
        return "test" if self.identity.get("settings", {}).get("stage") in ("test", "predict") else "validation"


def read_results(folder: Path) -> Results:
    """A finished run's `results.json`. Errors: UserError for a folder without one that can be read."""
    try:
        return Results.model_validate_json(RunFolder(folder).results.read_bytes())
    except (OSError, ValidationError) as error:
        if isinstance(error, FileNotFoundError) and is_run(folder):
            raise UserError(f"{folder}: its run is not at its end; start its command again to finish it") from None
        problem = "holds no finished run" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: {problem}; give the folder that holds its results.json") from None


def sign(monitor: Monitor) -> int:
    """The sign of a figure: 1 where lower values are better, else -1."""
    return 1 if monitor == "val_loss" else -1


def better(row: Row, than: Row, monitor: Monitor) -> bool:
    """Whether `row` beats `than`: a lower val_loss, or a higher EM or F1. What was not measured beats nothing."""
    new, old = (getattr(each, monitor, None) for each in (row, than))
    if new is None or not math.isfinite(new):
        return False
    return old is None or bool(sign(monitor) * new < sign(monitor) * old)
