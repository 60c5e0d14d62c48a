"""An uploaded file on stdin → its text or its questions as JSON on stdout; a process of its own, with limits.

`qa/serving/extraction.py` starts it in an empty folder: python -m qa.serving.documents text|questions NAME LIMITS
"""

import json
import resource
import sys
from pathlib import Path

from qa.errors import UserError, one_line, spelled
from qa.serving.cards import cards_of
from qa.serving.texts import text_of
from qa.serving.uploads import ExtractionLimits, FileQuestion, QuestionsResponse, Upload, remedy, too_large, too_long

OPEN_FILES = 64
BAD_NAMED = 20  # bad records that are named
LONGEST_MESSAGE = 300  # characters; a message may quote the file
FIELDS = {r"(?:give )?data\.columns\.(\w+)=NAME": r"call it '\1'"}


def main() -> None:
    """Reads stdin within the limits, and writes a line of JSON with the problem, if there is one, then the content."""
    request, name, limit_values = sys.argv[1:]
    limits = ExtractionLimits(*json.loads(limit_values))
    confine(limits, writes=request == "questions")
    problem, content = reply(request, name, limits)
    sys.stdout.buffer.write(f"{json.dumps(problem)}\n{content}".encode(errors="replace"))


def confine(limits: ExtractionLimits, writes: bool) -> None:
    """Limits this process for good: address space, CPU time, files, and processes where it only reads."""
    seconds = int(limits.seconds) + 1
    wanted = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NOFILE: (OPEN_FILES, OPEN_FILES),
        resource.RLIMIT_FSIZE: (limits.memory, limits.memory) if writes else (0, 0),
        resource.RLIMIT_CPU: (seconds, seconds + 1),  # SIGXCPU tells, then SIGKILL
    }
    if sys.platform == "linux":  # macOS refuses the first, and counts all of the user's programs for the second
        wanted[resource.RLIMIT_AS] = (limits.memory, limits.memory)
        if not writes:  # Parquet is read by threads, which count as processes
            wanted[resource.RLIMIT_NPROC] = (0, 0)
    for kind, (soft, hard) in wanted.items():
        allowed = resource.getrlimit(kind)[1]
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)
        resource.setrlimit(kind, (soft, hard))


def reply(request: str, name: str, limits: ExtractionLimits) -> tuple[dict[str, str], str]:
    """The problem, and the text or the JSON of the questions. "fault", for the log alone, is a parser's error."""
    try:
        file = Upload(name, sys.stdin.buffer.read(), limits)
        if request == "text":
            return {}, text_of(file)
        return {}, json.dumps(questions_of(file), default=vars, ensure_ascii=False)
    except UserError as error:
        return {"error": _message(error)}, ""
    except MemoryError:
        return {"error": too_large(name, limits)}, ""
    except RecursionError:
        return {"error": f"{name}: nested too deeply to be read; {remedy(name)}"}, ""
    except Exception as error:
        problem = f"{name}: cannot be read, it may be damaged; get the file again, or {remedy(name)}"
        return {"error": problem, "fault": type(error).__name__}, ""


def _message(error: Exception) -> str:
    line = spelled(one_line(error), FIELDS)
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 1]}…"


def questions_of(file: Upload) -> QuestionsResponse:
    """The questions of a file, of any kind that training reads, or cards. Errors: UserError."""
    try:
        return _examples_of(file)
    except UserError:
        if (cards := cards_of(file)) and cards.questions:
            return cards
        raise


def _examples_of(file: Upload) -> QuestionsResponse:
    """The questions of a file of a kind that training reads. Errors: UserError.

    The file is written into the working directory, so that messages name it without a folder.
    """
    from qa.data.reading.checked import examples_to_ask
    from qa.data.reading.record import BadRecord

    path = Path(file.name)
    path.write_bytes(file.data)
    questions: list[FileQuestion] = []
    contexts: dict[str, int] = {}
    messages: list[str] = []
    bad, left = 0, file.limits.characters
    for example in examples_to_ask(path, need="texts"):
        if isinstance(example, BadRecord):
            bad += 1
            if bad <= BAD_NAMED:
                messages.append(_message(UserError(example.problem)))
            continue
        if example.context not in contexts:
            contexts[example.context] = len(contexts)
            left -= len(json.dumps(example.context, ensure_ascii=False))
        answers = [answer.text for answer in example.answers]
        question = FileQuestion(example.id, example.question, contexts[example.context], answers, example.language)
        questions.append(question)
        left -= len(json.dumps([*vars(question).values()], ensure_ascii=False))
        if left < 0:
            raise UserError(too_long(file.name, file.limits))
    if not questions:
        first = f" ({messages[0]})" if messages else ""
        raise UserError(f"{file.name}: no question in it that can be asked{first}; give a file that holds some")
    return QuestionsResponse(questions, list(contexts), bad, messages)


if __name__ == "__main__":
    main()
