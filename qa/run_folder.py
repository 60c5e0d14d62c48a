"""The look at the run folder before Hydra writes into it."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from qa import UserError, launch
from qa.launch import stop
from qa.progress import console

INTERRUPTED = "interrupted.txt"


class RunFolder(Callback):
    """Looks at the run folder before Hydra writes into it: a finished run is shown, another run's folder refused."""

    lock: int | None = None
    folder: Path | None = None  # of this run, once it is this process's

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends the program where there is nothing to do, or nothing that may be done."""
        folder, rank = Path(config.hydra.run.dir), launch.rank()
        if rank is not None and launch.started_here():
            return
        if rank is not None and not any("hydra.run.dir=" in argument for argument in sys.argv):
            stop("several processes of one run: give them one hydra.run.dir=FOLDER that all can reach")
        if rank:
            return
        from qa.runs import clear, different_keys, lock  # imports torch, which not every command needs

        try:
            folder.mkdir(parents=True, exist_ok=True)
            RunFolder.lock, RunFolder.folder = lock(folder), folder
            (folder / INTERRUPTED).unlink(missing_ok=True)
            held = folder / ".hydra" / "config.yaml"
            if config.resume == "never":
                clear(folder)
            begun = any((folder / name).exists() for name in ("checkpoints", "results.json"))
            if config.resume == "never" or not begun or not held.exists():
                return
            configs: Any = [OmegaConf.to_container(node) for node in (OmegaConf.load(held), config)]
        except OSError as error:
            stop(f"{folder}: {error.strerror}; give another hydra.run.dir")
        except UserError as error:
            stop(str(error))
        if differ := different_keys(*configs):
            stop(
                f"{folder}: holds a run with other settings ({', '.join(differ)}); give another hydra.run.dir,"
                " or resume=never to start anew in it"
            )
        if (folder / "results.json").exists():
            show_finished(folder)
            sys.exit(0)


def show_finished(folder: Path) -> None:
    from qa.report import Results, results_table

    results = Results.model_validate_json((folder / "results.json").read_text(encoding="utf-8"))
    console.print(f"{folder} is finished; resume=never starts it anew")
    console.print(results_table(results.epochs, results.best, results.evaluated))
