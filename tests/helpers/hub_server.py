"""A hub on loopback: folders of files, answered for as huggingface.co does, with the failures that it has."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RESOLVE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)")
API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+?)(?:/(revision|tree|paths-info)/([^/]+)/?(.*))?")


class Hub(ThreadingHTTPServer):
    """Serves `root/models/USER/NAME/…` and `root/datasets/USER/NAME/…`; `fault` is what it does instead."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.root, self.fault, self.asked = root, "", 0
        self.private: set[str] = set()  # names of repositories
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.server.asked += 1
        path = unquote(urlsplit(self.path).path)
        if self.server.fault.isdecimal() and path != "/":
            return self._json({"error": "no"}, int(self.server.fault))
        if path == "/api/whoami-v2":
            known = self.headers.get("Authorization") == "Bearer hf_secret"
            return self._json({"name": "ada", "type": "user", "orgs": []}, 200 if known else 401)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create" or path.endswith(("/preupload/main", "/commit/main")):
            return self._push(path)
        if match := RESOLVE.fullmatch(path):
            return self._file(self.server.root / ("datasets" if match[1] else "models") / match[2] / match[3])
        if match := API.fullmatch(path):
            return self._api(*match.groups())
        return self._json({}, 200 if path == "/" else 404)

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_HEAD()

    do_GET = do_HEAD

    def _push(self, path: str) -> None:
        """A model is uploaded: one commit of files small enough to stand in it."""
        if path.endswith("/preupload/main"):
            answer = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return self._json({"files": [{"path": f["path"], **answer} for f in json.loads(self.body)["files"]]})
        if path.endswith("/commit/main"):
            folder = self.server.root / path.removeprefix("/api/").removesuffix("/commit/main")
            for line in map(json.loads, self.body.splitlines()):
                if line["key"] == "file":
                    file = folder / line["value"]["path"]
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(base64.b64decode(line["value"]["content"]))
            where = path.removeprefix("/api/models").removesuffix("/main")
            return self._json({"commitUrl": f"{self.server.url}{where}/{COMMIT}", "commitOid": COMMIT})
        wanted = json.loads(self.body)
        folder = self.server.root / "models" / wanted["organization"] / wanted["name"]
        if folder.is_dir():
            return self._json({"url": f"{self.server.url}/{wanted['organization']}/{wanted['name']}"}, 409)
        folder.mkdir(parents=True)
        if wanted.get("visibility") == "private":
            self.server.private.add(f"{wanted['organization']}/{wanted['name']}")
        return self._json({"url": f"{self.server.url}/{wanted['organization']}/{wanted['name']}"})

    def _api(self, kind: str, name: str, what: str | None, _: str | None, inside: str | None) -> None:
        folder = self.server.root / kind / name
        if not folder.is_dir():
            return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        entries = [entry(path, folder) for path in sorted(folder.rglob("*"))]
        if what == "tree":
            where = folder / (inside or "")
            found = where.rglob("*") if "recursive=true" in self.path.lower() else where.glob("*")
            return self._json([entry(path, folder) for path in sorted(found)])
        if what == "paths-info":
            wanted = parse_qs(self.body.decode()).get("paths", []) or json.loads(self.body)["paths"]
            return self._json([e for e in entries if e["path"] in wanted])
        siblings = [{"rfilename": e["path"]} for e in entries if e["type"] == "file"]
        about = {"id": name, "sha": COMMIT, "private": name in self.server.private, "tags": [], "downloads": 0}
        return self._json({**about, "siblings": siblings})

    def _file(self, path: Path) -> None:
        if not path.is_file():
            code = "EntryNotFound" if path.parent.is_dir() else "RepoNotFound"
            return self._json({}, 404, {"X-Error-Code": code, "X-Repo-Commit": COMMIT})
        content = path.read_bytes()
        large = path.suffix in {".safetensors", ".parquet"}
        etag = hashlib.sha256(content).hexdigest() if large else hashlib.sha1(content).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if large:
            headers |= {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        begin = int(re.findall(r"\d+", self.headers.get("Range", "bytes=0"))[0])
        if large and self.server.fault == "checksum":
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(206 if begin else 200)
        for name, value in {**headers, "Content-Length": str(len(content) - begin)}.items():
            self.send_header(name, value)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            cut = large and self.server.fault == "cut"
            self.wfile.write(content[begin : len(content) // 2] if cut else content[begin:])
            if cut:
                self.close_connection = True

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silent."""


def entry(path: Path, folder: Path) -> dict[str, Any]:
    name = str(path.relative_to(folder))
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": COMMIT, "size": 0}
    content = path.read_bytes()
    found: dict[str, Any] = {"type": "file", "path": name, "size": len(content)}
    found["oid"] = hashlib.sha1(content).hexdigest()
    if path.suffix in {".safetensors", ".parquet"}:
        found["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return found


@contextmanager
def hub(root: Path) -> Iterator[Hub]:
    """A hub that answers until the end of the block."""
    server = Hub(root)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
