"""Questions that are answered together have the answers that each would have alone."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest
from starlette.testclient import TestClient

from qa.answering.answer import Answer
from qa.answering.answerer import QuestionAnswerer
from qa.answering.options import Options
from qa.answering.work import Ask
from qa.errors import UserError
from qa.serving.app import make_app
from qa.serving.batching import RequestJob
from qa.serving.corrections import Corrections
from qa.serving.limits import Limits
from qa.serving.schemas import Item
from qa.serving.service import AnswerService

CONTEXT = "The bridge of Tollen was built in 1822 by Ada Brill. A flood took its arches away."


@pytest.fixture(scope="module")
def service(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnswerService]:
    """That of a model with two temperatures."""
    model = copytree(tiny, tmp_path_factory.mktemp("service") / "model")
    (model / "qa.json").write_text(json.dumps({"temperature": 0.1, "temperature_by_language": {"de": 1000.0}}))
    answerer = QuestionAnswerer.from_pretrained(str(model), "cpu")
    answerer.batch_tokens = 2_048  # as on a GPU
    service = AnswerService(answerer, "m", Limits())
    yield service
    service.batcher.close()


def test_each_request_has_its_own_options(service: AnswerService) -> None:
    item = Item(question="Who built it?", context=CONTEXT)
    options = [Options(top_k=1 + number % 3) for number in range(12)]

    async def ask_all() -> list[int]:
        found = await asyncio.gather(*(service.answers([item], one) for one in options))
        return [len(answer.alternatives) for (answer,) in found]

    alone = [len(service.answerer(item.question, CONTEXT, top_k=one.top_k).alternatives) for one in options]
    assert asyncio.run(ask_all()) == alone
    assert len({*alone}) == 3
    (grouped,) = service.metrics.group.collect()
    count = next(sample.value for sample in grouped.samples if sample.name.endswith("_count"))
    assert count < 12  # else no request shared a batch


def test_the_hubs_task_takes_a_language(service: AnswerService, tmp_path: Path) -> None:
    app = make_app(service.answerer, "m", Corrections(tmp_path / "c.jsonl"), Limits(), None, ["testserver"])
    with TestClient(app) as client:
        inputs = {"question": "Who built it?", "context": CONTEXT}
        bodies = [{"inputs": inputs, "parameters": given} for given in ({"language": "de"}, {"language": None}, None)]
        german, other, plain = [client.post("/", json=body).json()["score"] for body in bodies]
        assert german < other == plain
        assert client.get("/model").json()["languages"] == ["de"]


def test_each_question_has_the_temperature_of_its_language(service: AnswerService) -> None:
    items = [Item(question="Who built it?", context=CONTEXT, language=language) for language in ("de", None, "de")]
    german, other, again = [answer.probability for answer in asyncio.run(service.answers(items, Options()))]
    assert german == again < other
    unknown = Item(question="Who built it?", context=CONTEXT, language="german")
    with pytest.raises(UserError, match="language=german: there are de; give one of them, or none"):
        asyncio.run(service.answers([items[0], unknown], Options()))


def test_a_group_whose_first_client_leaves_while_it_waits_for_others_goes_on(service: AnswerService) -> None:
    """On a GPU the thread waits some milliseconds for requests to share a batch with the first."""

    def job() -> RequestJob:
        return RequestJob([Ask("Who built it?", [CONTEXT])], [None], Options(), service.answerer)

    async def leave(beside: bool) -> list[Answer]:
        first = job()
        service.submit(first)
        answers = asyncio.ensure_future(service.wait(job())) if beside else None
        await asyncio.sleep(0.002)
        service.batcher.drop(first)
        await asyncio.sleep(0.02)
        return await (answers or service.wait(job()))

    for beside in (False, True):
        assert asyncio.run(leave(beside))[0].text
    assert service.batcher.is_alive and service.metrics.waiting._value.get() == 0
