"""The service gives the library's answers, to many at once, in the hub's schema, too, and loses none."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from helpers.commands import Run, quick_fit
from helpers.questions import write_bridges
from helpers.service import Service, served
from qa import QuestionAnswerer
from qa.data.reading.examples import read_examples
from qa.runs.identity import model_contents

pytestmark = pytest.mark.slow

CONTEXT = "The bridge of Tollen was built in 1822 by Ada Brill. A flood took its arches away. "


@pytest.fixture(scope="module")
def service(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with served(tiny, tmp_path_factory.mktemp("service"), env={"OMP_NUM_THREADS": "2"}) as found:  # two lanes
        yield found


@pytest.fixture(scope="module")
def answerer(tiny: Path) -> QuestionAnswerer:
    return QuestionAnswerer.from_pretrained(str(tiny))


def post(service: Service, path: str, body: Any, **options: Any) -> httpx.Response:
    return httpx.post(service.url + path, json=body, timeout=60, **options)


def figures(service: Service) -> dict[str, float]:
    lines = [line for line in httpx.get(service.url + "/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def alike(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether two answers are the same; scores within the rounding of other padding."""
    exact = ("text", "start", "end", "context_index")
    near = ("score", "probability")
    return all(found[key] == expected[key] for key in exact) and all(
        found[key] == pytest.approx(expected[key], abs=1e-4) for key in near
    )


def test_answers_are_the_librarys(service: Service, answerer: QuestionAnswerer, tmp_path: Path) -> None:
    examples = read_examples(str(write_bridges(tmp_path, 20, 1)[0])).examples
    questions, contexts = [e.question for e in examples], [e.context for e in examples]
    expected = [{**asdict(a), "context_index": 0} for a in answerer(questions, contexts, top_k=3)]
    items = [{"question": e.question, "context": e.context} for e in examples]
    at_once = post(service, "/answer", {"items": items, "options": {"top_k": 3}}).json()["answers"]
    with ThreadPoolExecutor(20) as pool:
        asked = [{**item, "options": {"top_k": 3}} for item in items]
        responses = list(pool.map(lambda body: post(service, "/answer", body), asked))
    one_by_one = [response.json()["answers"][0] for response in responses]
    for found in (at_once, one_by_one):
        assert len(found) == len(expected) > 30
        assert all(map(alike, found, expected))
        assert [len(answer["alternatives"]) for answer in found] == [len(a["alternatives"]) for a in expected]
    assert set(at_once[0]) == set(expected[0])
    made = figures(service)
    assert made["qa_questions_total"] >= 80
    assert made["qa_waiting_questions"] == 0


def test_an_answer_has_the_same_bytes_whoever_asks_beside_it(service: Service) -> None:
    item, draw = {"question": "Who built it?", "context": CONTEXT * 9}, random.Random(0)
    asked = {**item, "options": {"top_k": 5}}
    others: list[dict[str, Any]] = [
        {"question": "Who?", "context": CONTEXT + "x " * draw.randint(1, 300)} for _ in range(100)
    ]
    several = {"items": [*others[:9], item], "options": asked["options"]}
    bodies = draw.sample([asked] * 300 + [*others, several, {"question": "Who?", "context": CONTEXT * 500}], 402)
    with httpx.Client(base_url=service.url, timeout=60) as client, ThreadPoolExecutor(16) as pool:
        alone = client.post("/answer", json=asked).content
        found = [response.content for response in pool.map(lambda body: client.post("/answer", json=body), bodies)]
    assert [content for body, content in zip(bodies, found, strict=True) if body is asked] == [alone] * 300
    assert json.loads(found[bodies.index(several)])["answers"][-1:] == json.loads(alone)["answers"]


def test_several_contexts_have_one_answer(service: Service, answerer: QuestionAnswerer) -> None:
    contexts = [CONTEXT, "", "Linivar Lunditz led the second expedition in 1911."]
    (found,) = post(service, "/answer", {"question": "Who led it?", "context": contexts}).json()["answers"]
    assert alike(found, asdict(answerer("Who led it?", contexts)))


def test_the_hubs_own_client_gets_answers(service: Service, answerer: QuestionAnswerer) -> None:
    code = (
        "import json, sys; from huggingface_hub import InferenceClient; url, question, context = sys.argv[1:]\n"
        "for client in (InferenceClient(url), InferenceClient(url + '/v1/question-answering')):\n"
        "    one = client.question_answering(question=question, context=context)\n"
        "    more = client.question_answering(question=question, context=context, top_k=3, max_answer_len=1,\n"
        "        max_seq_len=64, doc_stride=16, max_question_len=3, align_to_words=True,\n"
        "        handle_impossible_answer=False)\n"
        "    print(json.dumps([one, more]))\n"
    )
    question, context = "When was the bridge of Tollen built?", "Tollenbruecke unhewnstones " * 20
    env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, service.url, question, context], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stderr
    plain = answerer(question, context)
    options: dict[str, Any] = {"top_k": 3, "max_answer_length": 1, "handle_impossible_answer": False}
    cut = answerer.cut(64, 16)("When was the", context, whole_words=True, **options)
    expected = [part.to_dict() for part in (cut, *cut.alternatives)]
    for one, more in map(json.loads, done.stdout.splitlines()):
        assert one == {**plain.to_dict(), "score": pytest.approx(plain.probability, abs=1e-5)}
        assert more == [{**part, "score": pytest.approx(part["score"], abs=1e-5)} for part in expected]
    assert answerer.cut(64, 16)("When was the", context, **options).to_dict() != expected[0]  # a part of a word


def test_a_long_text_is_answered_in_turns(service: Service, answerer: QuestionAnswerer) -> None:
    text = CONTEXT * 6_000
    ended: dict[str, float] = {}

    def long() -> list[dict[str, Any]]:
        body = {"question": "Who built it?", "context": text}
        with httpx.stream("POST", service.url + "/answer/stream", json=body, timeout=120) as response:
            assert response.headers["content-type"].startswith("application/x-ndjson")
            lines = [json.loads(line) for line in response.iter_lines()]
        ended["long"] = time.monotonic()
        return lines

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(long)
        time.sleep(1)
        for _ in range(3):
            assert post(service, "/answer", {"question": "Who built it?", "context": CONTEXT}).status_code == 200
        ended["short"] = time.monotonic()
        lines = waiting.result()
    assert ended["short"] < ended["long"]
    *states, last = lines
    assert [state["done"] for state in states] == sorted({state["done"] for state in states})
    assert states and all(0 < state["done"] < state["windows"] for state in states)
    assert last["final"] and alike(last["answer"], asdict(answerer("Who built it?", text)))


def test_a_client_that_leaves_is_not_worked_for(service: Service) -> None:
    before = figures(service)["qa_windows_total"]
    body = {"question": "Who built it?", "context": CONTEXT * 20_000}
    with httpx.stream("POST", service.url + "/answer/stream", json=body, timeout=60) as response:
        state = json.loads(next(response.iter_lines()))
    deadline = time.monotonic() + 30
    while figures(service)["qa_waiting_questions"] and time.monotonic() < deadline:
        time.sleep(0.1)
    made = figures(service)
    assert made["qa_waiting_questions"] == 0
    assert made["qa_windows_total"] - before < state["windows"] / 2


def test_a_bad_question_does_not_harm_those_beside_it(service: Service) -> None:
    def ask(question: str) -> tuple[int, str]:
        response = post(service, "/answer", {"question": question, "context": CONTEXT})
        return response.status_code, response.text

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(ask, ["Who built it?", "a " * 390, " ", "Who built it?"] * 3))
    assert [status for status, _ in found] == [200, 422, 422, 200] * 3
    assert "too long" in found[1][1] and "empty" in found[2][1]


def test_a_stopped_service_answers_what_it_accepted(tiny: Path, tmp_path: Path) -> None:
    statuses: list[int] = []
    stop = threading.Event()

    def ask(url: str) -> None:
        with httpx.Client(timeout=60, headers={"Connection": "close"}) as client:
            while not stop.is_set():
                try:
                    response = client.post(url + "/answer", json={"question": "Who?", "context": CONTEXT * 40})
                except httpx.ConnectError:  # not accepted
                    return
                assert len(response.json().get("answers", "1")) == 1
                statuses.append(response.status_code)

    with served(tiny, tmp_path) as service, ThreadPoolExecutor(16) as pool:
        asking = [pool.submit(ask, service.url) for _ in range(16)]
        time.sleep(3)
        service.process.send_signal(signal.SIGTERM)
        status = service.process.wait(60)
        stop.set()
        for one in asking:
            one.result()  # no connection was cut off
        assert (status, "Traceback" in service.log.read_text()) == (0, False)
    assert len(statuses) > 30 and set(statuses) == {200}


def test_a_second_ctrl_c_ends_the_service_at_once_and_without_a_traceback(tiny: Path, tmp_path: Path) -> None:
    head = b"POST /answer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    with served(tiny, tmp_path) as service, socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(head + b"{")  # the service waits for the rest
        for _ in range(2):
            time.sleep(1)
            assert service.process.poll() is None
            service.process.send_signal(signal.SIGINT)
        assert service.process.wait(10) in (130, 0)  # 0: where the tests themselves were started to ignore it
        assert "Traceback" not in service.log.read_text()


def test_what_people_correct_is_learned(train_py: Run, tiny: Path, tmp_path: Path) -> None:
    files = write_bridges(tmp_path, 8, 2)
    question, text = "Who paid for the bridge?", "Ada Brill"
    context = f"Long ago, {CONTEXT}"
    with served(tiny, tmp_path) as service:
        (found,) = post(service, "/answer", {"question": question, "context": context}).json()["answers"]
        assert found["text"] != text
        right = {"question": question, "context": context, "text": text, "start": context.index(text), "name": "x.txt"}
        made = [post(service, "/corrections", {**right, "predicted": found["text"]}).json() for _ in range(2)]
        name = made[0]["id"]
        assert made == [{"id": name, "corrections": 1, "added": True}, {"id": name, "corrections": 1, "added": False}]
        other = {**right, "question": "Who broke it?", "text": "", "start": 0}
        second = post(service, "/corrections", other).json()
        assert (second["corrections"], second["added"]) == (2, True)
        assert post(service, "/corrections", {**right, "start": 3}).status_code == 422
        model = httpx.get(service.url + "/model").json()
        assert (model["corrections"], model["content"]) == (2, model_contents(str(tiny))[-1])
        undone = httpx.delete(service.url + "/corrections", params={"id": second["id"]}).json()
        assert undone == {"corrections": 1, "withdrawn": True}
    first, second, withdrawn = map(json.loads, service.corrections.read_text().splitlines())
    assert (withdrawn["id"], withdrawn["withdrawn"]) == (second["id"], True)
    assert first["source"]["predicted"] == found["text"] and first["source"]["text"] == "x.txt"
    assert first["source"]["model_content"] == model["content"]
    assert second["is_impossible"]
    done = train_py(
        *quick_fit(files, tiny, tmp_path / "cache"), f"data.train_file=[{files[0]},{service.corrections}]",
        "optimizer.lr=5e-3", "trainer.max_epochs=12", "logger=csv", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert done.returncode == 0 and "which later ones replace or withdraw: 2" in done.stderr
    later = QuestionAnswerer.from_pretrained(f"{tmp_path}/run/model")
    assert later(question, context).text == text and later.answering.no_answer_threshold is None
