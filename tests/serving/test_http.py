"""HTTP as clients, proxies and load balancers know it, and a loop that no request holds up."""

import io
import json
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from helpers.paths import ROOT
from helpers.service import Service, served

pytestmark = pytest.mark.slow

CONTEXT = "The bridge of Tollen was built in 1822 by Ada Brill. A flood took its arches away. "
ASKED = {"question": "Who built it?", "context": CONTEXT}
LOOP_SECONDS = 0.5  # of CPU that one request may take from all others


@pytest.fixture(scope="module")
def service(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service as its container starts it, with a log in JSON and a token."""
    folder = tmp_path_factory.mktemp("http")
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    arguments = json.loads(entry)[3:]
    assert arguments[:2] == ["--host", "0.0.0.0"]
    with served(
        tiny, folder, *arguments, "--name", "QA.Example:443", "--log", "json", "--proxy", "127.0.0.8/31"
    ) as found:
        yield found


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("192.168.1.5:8000", 200),
        ("[::1]:8000", 200),
        ("qa.example:8000", 200),
        ("QA.EXAMPLE", 200),
        ("evil.example:8000", 403),
        ("evil.example", 403),
        ("", 403),
        ("*", 403),
    ],
)
def test_a_container_answers_to_its_names_alone(service: Service, host: str, status: int) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert httpx.post(service.url + "/answer", json=ASKED, headers=headers).status_code == status
    assert httpx.get(service.url + "/model", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("size", [9 << 20, 100 << 20])
def test_every_client_sees_why_a_large_body_is_refused(service: Service, size: int) -> None:
    request = urllib.request.Request(service.url + "/answer", b"x" * size, {"Content-Type": "application/json"})
    for _ in range(3):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request, timeout=30)
        assert refusal.value.code == 413 and b"body: at most 8,388,608 bytes" in refusal.value.read()
    assert httpx.post(service.url + "/answer", content=b"x" * size).status_code == 413


def test_heads_and_methods(service: Service) -> None:
    for path in ("/", "/health", "/ready", "/metrics", "/model", "/page.js", "/openapi.json"):
        head, get = httpx.head(service.url + path), httpx.get(service.url + path)
        assert (head.status_code, get.status_code, head.content) == (200, 200, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
    allowed = {"/": "GET, HEAD, POST", "/answer": "POST", "/model": "GET, HEAD", "/page.css": "GET, HEAD"}
    for path, methods in allowed.items():
        for method in ("PUT", "DELETE", "OPTIONS"):
            response = httpx.request(method, service.url + path)
            assert (response.status_code, response.headers["allow"]) == (405, methods), (method, path)
    assert httpx.head(service.url + "/nowhere").status_code == 404
    assert httpx.get(service.url + "/docs").json() == {"error": "Not Found; the addresses are in /openapi.json"}


def test_what_a_browser_has_is_not_sent_again(service: Service) -> None:
    first = httpx.get(service.url + "/page.js")
    packed = int(first.headers["content-length"])
    assert first.headers["content-encoding"] == "gzip" and packed < len(first.content)
    again = httpx.get(service.url + "/page.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = httpx.get(service.url + "/page.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.content == first.content
    assert plain.headers["vary"] == "Accept-Encoding"


def test_a_body_has_a_type(service: Service) -> None:
    content = json.dumps(ASKED).encode()
    for kind, status in ((None, 415), ("text/plain", 415), ("application/json", 200)):
        request = httpx.Request("POST", service.url + "/answer", content=content)
        if kind:
            request.headers["Content-Type"] = kind
        with httpx.Client() as client:
            assert client.send(request).status_code == status


def logged(service: Service, request_id: str) -> dict[str, Any]:
    """The line of the log of a request, which follows its answer."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        whole = service.log.read_text().rpartition("\n")[0].splitlines()
        for line in (json.loads(line) for line in whole if line.startswith("{")):
            if line.get("request_id") == request_id:
                return dict(line)
    raise AssertionError(f"no line of {request_id}")


def test_a_request_is_logged_with_its_id(service: Service) -> None:
    sent = httpx.post(service.url + "/answer", json=ASKED, headers={"X-Request-ID": "order-66"})
    invented = httpx.get(service.url + "/nowhere/Zanzibar", headers={"X-Request-ID": "a b"})
    assert sent.headers["x-request-id"] == "order-66"
    assert re.fullmatch("[0-9a-f]{16}", invented.headers["x-request-id"])
    line, other = logged(service, "order-66"), logged(service, invented.headers["x-request-id"])
    assert (line["method"], line["path"], line["status"], line["address"]) == ("POST", "/answer", 200, "127.0.0.1")
    assert (other["path"], other["status"]) == ("other", 404)
    log = service.log.read_text()
    assert "everyone who reaches this machine can ask" in log
    assert "Zanzibar" not in log and "Ada Brill" not in log


def test_a_clients_address_is_what_a_known_proxy_says(service: Service) -> None:
    for source, address in (("127.0.0.1", "127.0.0.1"), ("127.0.0.9", "203.0.113.5")):
        with httpx.Client(transport=httpx.HTTPTransport(local_address=source)) as client:
            headers = {"X-Forwarded-For": "203.0.113.5", "X-Request-ID": f"from-{source}"}
            assert client.get(service.url + "/model", headers=headers).status_code == 200
        assert logged(service, f"from-{source}")["address"] == address


def largest_bodies() -> dict[str, tuple[str, bytes, int]]:
    """{what: (path and query, body, status)} of requests as large as the service takes them."""
    rows = io.StringIO()
    rows.write("id,question,context,answer\n")
    rows.writelines(f"{number},Q{number}?,a b,a\n" for number in range(60_000))
    words = " ".join(f"w{number % 700}" for number in range(1_000))[:4_999]
    grade = {"given": words, "answers": [f"{words[:4_900]} {number}" for number in range(100)]}
    hub = {"inputs": {"question": "Who?", "context": "Ada saw it. " * 150_000}, "parameters": {"align_to_words": True}}
    items = {"items": [{"question": f"Who {number}?", "context": "It was Ada."} for number in range(257)]}
    return {
        "grade": ("/grade", json.dumps(grade).encode(), 200),
        "questions": ("/questions?name=many.csv", rows.getvalue().encode(), 200),
        "numbers": ("/answer", json.dumps({"items": [1] * 2_500_000}).encode(), 422),
        "contexts": ("/answer", json.dumps({"question": "a", "context": ["x"] * 1_600_000}).encode(), 422),
        "items": ("/answer", json.dumps(items).encode(), 422),
        "hub": ("/", json.dumps(hub).encode(), 200),
        "correction": (
            "/corrections",
            json.dumps({"question": "a", "context": "b " * 4_000_000, "text": "b", "start": 0}).encode(),
            200,
        ),
    }


def loop_seconds(service: Service) -> float:
    """CPU seconds of the service's event loop."""
    return float(httpx.get(service.url + "/metrics").text.partition("\nqa_loop_seconds ")[2].split()[0])


@pytest.mark.parametrize("what", largest_bodies())
def test_the_largest_bodies_hold_nobody_up(service: Service, what: str) -> None:
    path, body, status = largest_bodies()[what]
    kind = "application/octet-stream" if "?" in path else "application/json"
    before = loop_seconds(service)
    response = httpx.post(service.url + path, content=body, headers={"Content-Type": kind}, timeout=120)
    assert response.status_code == status, response.text[:500]
    assert loop_seconds(service) - before < LOOP_SECONDS


def test_nobody_is_let_in_before_the_model_is_ready(tiny: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    command = [sys.executable, "-m", "qa.serve", str(tiny), "--port", str(port), "--corrections", str(tmp_path / "c")]
    with log.open("wb") as output, subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) as process:
        try:
            statuses = []
            while 200 not in statuses and process.poll() is None:
                try:
                    statuses.append(httpx.get(f"http://127.0.0.1:{port}/ready", timeout=2).status_code)
                except httpx.ConnectError:
                    statuses.append(0)
                time.sleep(0.05)
            assert set(statuses) == {0, 200}, (statuses, log.read_text(), shlex.join(command))
        finally:
            process.kill()
