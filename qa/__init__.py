"""Fine-tuning BERT for extractive question answering: the names that other programs and `conf/` may rely on.

What is not listed here is private and may move. Each name is imported when it is first used, so that `import qa` needs
neither torch nor Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qa.answering.answer import Answer as Answer
    from qa.answering.answerer import QuestionAnswerer as QuestionAnswerer
    from qa.data.datamodule import SquadDataModule as SquadDataModule
    from qa.data.example import Example as Example
    from qa.errors import UserError as UserError
    from qa.evaluation.squad_metric import SquadMetric as SquadMetric
    from qa.model.optimization import schedule as schedule
    from qa.training.module import QuestionAnsweringModule as QuestionAnsweringModule

WHERE = {
    "Answer": "qa.answering.answer",
    "QuestionAnswerer": "qa.answering.answerer",
    "Example": "qa.data.example",
    "SquadDataModule": "qa.data.datamodule",
    "SquadMetric": "qa.evaluation.squad_metric",
    "QuestionAnsweringModule": "qa.training.module",
    "UserError": "qa.errors",
    "schedule": "qa.model.optimization",
    # for conf/ alone
    "EarlyStopping": "qa.training.callbacks",
    "Estimate": "qa.training.estimate",
    "LiveLine": "qa.training.live_line",
    "MetricsFile": "qa.tracking.metrics_file",
    "Plain": "qa.console",
    "RunStart": "qa.config.run_start",
    "TensorBoard": "qa.tracking.loggers",
    "Wandb": "qa.tracking.loggers",
}


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(f"module 'qa' has no attribute {name!r}")
    return getattr(import_module(WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(WHERE)
