"""Ranks: which of several processes this one is, by the launcher that started it: ours, torchrun or srun."""

import os

ERROR_FILE = "QA_ERROR"  # where a process that was started here leaves its last words
MEETING = "QA_MEETING"  # a file by which the ranks of one machine find each other


def starts_over(resume: str) -> bool:
    """Whether `resume=never` is to be obeyed: a further turn of a queued job resumes what the first one began."""
    turns = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")
    return resume == "never" and not any(int(os.environ.get(name) or 0) for name in turns)


def started_here() -> bool:
    """Whether this process was started by this program, as a rank or as a job of a sweep."""
    return ERROR_FILE in os.environ


def rank() -> int | None:
    """The number of this process among those of its run; None without a launcher of several (ours, torchrun, srun)."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    if "SLURM_STEP_ID" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        return int(os.environ["SLURM_PROCID"])
    return None


def world_size() -> int:
    """The number of processes of this one's run."""
    if rank() is None:
        return 1
    return int(os.environ.get("WORLD_SIZE") or os.environ["SLURM_NTASKS"])


def devices_and_nodes() -> tuple[int, int]:
    """Ranks per node and nodes of the launcher outside (torchrun, srun) that started this process."""
    nodes = int(os.environ.get("GROUP_WORLD_SIZE") or os.environ.get("SLURM_NNODES") or 1)
    return world_size() // nodes, nodes


def environment_without_slurm() -> dict[str, str]:
    """The environment for processes started here, where nothing makes lightning think that SLURM started them."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
