"""What the service refuses, and how: by its limits, to strangers, and whatever a body holds."""

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from helpers.commands import wait
from helpers.service import Service, served

pytestmark = pytest.mark.slow

CONTEXT = "The bridge of Tollen was built in 1822 by Ada Brill. A flood took its arches away. "
ASKED = {"question": "Who built it?", "context": CONTEXT}
JSON = {"Content-Type": "application/json"}
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
MARK = "Zanzibar-4711"  # of what a client sends


@pytest.fixture(scope="module")
def strict(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that takes little, and waits for nobody."""
    folder = tmp_path_factory.mktemp("strict")
    with served(
        tiny, folder, body=20_000, question=100, context=9_000, windows=40, body_seconds=1,
        header_seconds=1, held=50_000,
    ) as found:  # fmt: skip
        yield found
        log = found.log.read_text()
        assert MARK not in log and "Traceback" not in log and CONTEXT[:20] not in log


def ask(service: Service, body: Any, path: str = "/answer", **options: Any) -> tuple[int, str]:
    """The status and the error of a request."""
    response = httpx.post(service.url + path, json=body, timeout=60, **options)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    return response.status_code, response.json().get("error", "")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({**ASKED, "context": "x" * 21_000}, 413, "body: at most 20,000 bytes"),
        ({**ASKED, "context": "x" * 9_001}, 413, "context: 9,001 characters; at most 9,000"),
        ({**ASKED, "question": MARK * 10}, 413, "question: 130 characters; at most 100"),
        ({"items": [{"question": "a", "context": "b"}] * 257}, 422, "items: at most 256 items"),
        ({"items": [1] * 5_000}, 422, "items"),
        ({"items": [{**ASKED, "context": ["x"] * 400}] * 3}, 413, "context: 1,200 texts; at most 1,000"),
        ({str(number): 1 for number in range(31)}, 422, "0: no such field; the fields are question, "),
        ({**ASKED, "question": " "}, 422, "question: is empty"),
        ({**ASKED, "context": ""}, 422, "context: is empty"),
        ({**ASKED, "context": []}, 422, "context: at least 1 item"),
        ({**ASKED, "context": ["", " "]}, 422, "context: all 2 texts are empty; give a text"),
        ({**ASKED, "context": ["a", 7]}, 422, "context.1: should be text"),
        ({"question": MARK}, 422, 'give "question" and "context"'),
        ({**ASKED, "items": [ASKED]}, 422, "not both"),
        ({**ASKED, "temperature": 2}, 422, "temperature: no such field; the fields are question, context, language, "),
        ({"text": "a", "question": "b"}, 422, "text: no such field; the fields are question, context, "),
        ({**ASKED, "top_k": 2}, 422, "top_k: put it into options"),
        ({**ASKED, "options": {"k": 2}}, 422, "options.k: no such field; the fields are top_k, "),
        ({"items": [{**ASKED, "id": 1}]}, 422, "items.0.id: no such field; the fields are question, context, language"),
        ({**ASKED, "options": 2}, 422, "options: should be an object"),
        ({**ASKED, "options": {"top_k": 1.5}}, 422, "options.top_k: should be a whole number"),
        ({"items": [{"question": "a"}]}, 422, "items.0.context: is missing"),
        ({**ASKED, "options": {"top_k": 0}}, 422, "options.top_k: should be at least 1"),
        ({**ASKED, "options": {"top_k": 10**9}}, 422, "options.top_k: should be at most 100"),
        ({**ASKED, "options": {"min_probability": 2}}, 422, "options.min_probability"),
        ({"items": []}, 422, "items"),
        ([], 422, "body"),
        (None, 415, "Content-Type: send application/json"),
    ],
)
def test_what_is_wrong_is_named(strict: Service, body: Any, status: int, words: str) -> None:
    found, error = ask(strict, body)
    assert found == status
    assert words in error and MARK not in error


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"max_seq_len": 512}, "max_seq_len=512: the model was trained with 384"),
        ({"max_seq_len": 32, "doc_stride": 31}, "doc_stride=31"),
        ({"max_seq_len": 8}, "max_seq_len"),
        ({"top_k": 0}, "top_k"),
        ({"padding": True}, "parameters.padding: no such field; the fields are top_k, "),
    ],
)
def test_parameters_of_the_hub_are_checked(strict: Service, parameters: dict[str, Any], words: str) -> None:
    status, error = ask(strict, {"inputs": ASKED, "parameters": parameters}, "/")
    assert status == 422
    assert words in error


def test_many_windows_are_refused(strict: Service) -> None:
    body = {"inputs": {**ASKED, "context": "a " * 4_400}, "parameters": {"max_seq_len": 64, "doc_stride": 32}}
    status, error = ask(strict, body, "/")
    assert status == 413
    assert "windows; at most 40" in error


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b'{"question": "a', JSON, 400),
        (b"[" * 15_000, JSON, 400),
        (b'{"question":' * 1_500, JSON, 400),
        (b"\xff\xfe\x00", JSON, 400),
        (b'{"question": "\\ud800", "context": "a b"}', JSON, 422),
        (b'{"question": "a\\u0000b", "context": "a\\u0000b"}', JSON, 200),
        (b'{"question": "a", "context": "b", "options": {"min_probability": NaN}}', JSON, 422),
        (b'{"question": "a", "context": "b", "options": {"top_k": ' + b"9" * 5_000 + b"}}", JSON, 400),
        (b'{"question": "a", "context": "b", "options": {"min_probability": 1e999}}', JSON, 422),
        (b"question=a&context=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (json.dumps(ASKED).encode(), {**JSON, "Content-Encoding": "gzip"}, 415),
        (json.dumps(ASKED).encode(), {**JSON, "Host": "rebound.example"}, 403),
        (json.dumps(ASKED).encode(), {**JSON, "Host": "["}, 403),
        (json.dumps(ASKED).encode(), {**JSON, "Origin": "https://evil.example"}, 403),
        (json.dumps(ASKED).encode(), {**JSON, "Origin": "null"}, 403),
        (json.dumps(ASKED).encode(), JSON, 200),
    ],
)
def test_hostile_bodies_and_headers(strict: Service, content: bytes, headers: dict[str, str], status: int) -> None:
    response = httpx.post(strict.url + "/answer", content=content, headers=headers)
    assert response.status_code == status
    assert ("error" in response.json()) == (status != 200)
    assert "evil" not in response.text


def test_script_comes_back_as_json_alone(strict: Service) -> None:
    script = "<script>alert(1)</script>"
    response = httpx.post(strict.url + "/answer", json={"question": script, "context": f"It was {script} then."})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.headers["x-content-type-options"] == "nosniff"
    response = httpx.get(f"{strict.url}/{script}")
    assert response.status_code == 404 and "script" not in response.text


def closed_after(connection: socket.socket, limit: float = 5.0) -> tuple[float, bytes]:
    """Seconds until the service closes a connection, and what it sent."""
    begin, found = time.monotonic(), b""
    connection.settimeout(limit)
    try:
        while part := connection.recv(4096):
            found += part
    except ConnectionResetError:
        pass
    return time.monotonic() - begin, found


def connected(service: Service, sent: bytes, address: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port), source_address=(address, 0))
    connection.sendall(sent)
    return connection


HEAD = b"POST /answer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_slow_clients_are_cut_off(strict: Service) -> None:
    for sent in (b"", b"POST /answer HT", HEAD):
        with connected(strict, sent) as connection:
            took, found = closed_after(connection)
            assert 0.5 < took < 3 and found == b""
    with connected(strict, HEAD + b"Content-Length: 100\r\n\r\n{") as connection:
        took, found = closed_after(connection)
        assert 0.5 < took < 3 and b" 408 " in found and b"not arrived within 1 s" in found
    with connected(strict, HEAD) as connection, pytest.raises(ConnectionError):
        for _ in range(50):  # a byte at a time, so that it never looks idle
            connection.sendall(b"X")
            time.sleep(0.1)
    assert ask(strict, ASKED) == (200, "")


def test_floods_are_refused(strict: Service) -> None:
    with connected(strict, HEAD + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 900) for n in range(200)) + b"\r\n") as flood:
        _, found = closed_after(flood)
        assert b"200 OK" not in found
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    with connected(strict, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 6) as flood:
        _, found = closed_after(flood)
        assert b" 413 " in found and b"body: at most 20,000 bytes" in found
    half = HEAD + b"Content-Length: 19000\r\n\r\n" + b"x" * 18_000
    first, second, neighbour = connected(strict, half), connected(strict, half), connected(strict, half, "127.0.0.2")
    responses = [closed_after(one)[1] for one in (first, second, neighbour)]
    assert sorted(found[9:12] for found in responses) == [b"408", b"408", b"503"]  # the share of an address is one half
    assert b" 408 " in responses[2] and b"too many long requests" in b"".join(responses)
    others = [connected(strict, half, f"127.0.0.{number}") for number in range(1, 5)]
    assert sorted(closed_after(one)[1][9:12] for one in others) == [b"408", b"408", b"503", b"503"]
    assert ask(strict, ASKED) == (200, "")


def test_too_many_at_a_time(tiny: Path, tmp_path: Path) -> None:
    long = {"question": "Who?", "context": CONTEXT * 15_000}
    with served(tiny, tmp_path, "--timeout", "1.5", requests=8, waiting=6, connections=20) as service:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: ask(service, long), range(8)))
        late = (504, "no answer within 1.5 s; send less text, or ask /answer/stream")
        full = (503, "6 questions wait, and at most 6 may; try again in a few seconds")
        assert {*found} <= {late, full} and found.count(late) >= 6  # more than 6 where the machine is busy
        assert httpx.get(service.url + "/ready").status_code == 200  # the five that had not begun are gone
        halves = [connected(service, HEAD + b"Content-Length: 9\r\n\r\n") for _ in range(8)]
        assert ask(service, ASKED) == (429, "more than 8 requests of one address at a time; wait for an answer")
        for half in halves:
            half.close()
        idle = [connected(service, b"") for _ in range(10)]
        refused = httpx.post(service.url + "/answer", json=ASKED)
        words = "20 connections are open, 10 of one address, and no more may be; try again in a few seconds"
        assert (refused.status_code, refused.json()) == (503, {"error": words})
        with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as neighbour:
            assert neighbour.get(service.url + "/health").status_code == 200
        for one in idle:
            one.close()
        wait(lambda: "qa_waiting_questions 0.0" in httpx.get(service.url + "/metrics").text, "an idle model", 60)
        assert ask(service, ASKED) == (200, "")


def test_a_token_is_asked_for(tiny: Path, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    with served(tiny, tmp_path, "--token-file", str(secret), "--name", "qa.example") as service:
        for host, status in (("qa.example", 200), ("x.example", 403)):
            assert httpx.get(service.url, headers={"Host": host}).status_code == status
        for wrong in ("", "Bearer s3cre", "s3cret", "Bearer é"):
            assert ask(service, ASKED, headers={"Authorization": wrong.encode()})[0] == 401
        assert ask(service, ASKED, headers={"Authorization": "Bearer s3cret"}) == (200, "")
        statuses = {path: httpx.get(service.url + path).status_code for path in ("/", "/health", "/ready", "/metrics")}
        assert statuses == {"/": 200, "/health": 200, "/ready": 200, "/metrics": 401}
        assert "s3cret" not in service.log.read_text()


@pytest.mark.parametrize("each", [30, pytest.param(170, marks=pytest.mark.long)])
def test_no_body_ends_in_a_fault(each: int, strict: Service) -> None:
    """`each`: bodies for an operation that break its schema; some do not. Every response is what OpenAPI says."""
    schema = schemathesis.openapi.from_url(strict.url + "/openapi.json")
    statuses: Counter[int] = Counter()
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) >= 10
    for operation in operations:
        negative, positive = (each, 5) if operation.body else (0, 1)
        for mode, count in ((GenerationMode.NEGATIVE, negative), (GenerationMode.POSITIVE, positive)):
            if not count:
                continue

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            def sent(case: Any) -> None:
                response = case.call()
                statuses[response.status_code] += 1
                assert response.status_code < 500, response.text
                case.validate_response(response, checks=CHECKS)

            sent()
    assert statuses.total() > 5 * each and statuses[422] > 2 * each, statuses
