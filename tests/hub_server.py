"""A server that speaks what of the hub's API a push uses, on this machine: for huggingface_hub.

    with Hub() as hub:                 # HF_ENDPOINT=hub.url
        hub.repos["me/x"].files["README.md"]

Names, tokens and visibility are checked as the hub does; everything else is taken as it comes.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TOKEN, OWNER = "hf_a_token_that_may_write", "me"


@dataclass
class Repo:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


class Hub:
    """Repositories by name, and where the server is."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:
                hub.answer(self)

            do_POST = do_PUT = do_GET  # noqa: N815 (the names of the base class)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path = request.path.partition("?")[0]
        if path.startswith("/blobs/"):  # a signed address: no token
            self.blobs[path.removeprefix("/blobs/")] = body
            return self._send(request, 200, {})
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(request, 401, {"error": "Invalid credentials"})
        try:
            found = self._found(path, body)
        except PermissionError:
            return self._send(request, 403, {"error": "not yours"})
        return self._send(request, 404 if found is None else 200, found or {})

    def _found(self, path: str, body: bytes) -> dict[str, Any] | None:
        if path == "/api/whoami-v2":
            return {"name": OWNER, "type": "user"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            asked = json.loads(body)
            owner = asked.get("organization") or OWNER
            if owner != OWNER:
                raise PermissionError
            name = f"{owner}/{asked['name']}"
            private = asked.get("private", asked.get("visibility") == "private")
            self.repos.setdefault(name, Repo(bool(private)))
            return {"url": f"{self.url}/{name}", "name": name, "id": name}
        parts = path.strip("/").split("/")
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            return {"objects": [self._upload(item) for item in objects], "transfer": "basic"}
        if parts[:2] != ["api", "models"] or "/".join(parts[2:4]) not in self.repos:
            return None
        if parts[4:5] == ["preupload"]:
            files = json.loads(body)["files"]
            return {"files": [self._mode(file["path"]) for file in files]}
        if parts[4:5] == ["commit"]:
            return self._commit("/".join(parts[2:4]), body)
        return {"id": "/".join(parts[2:4]), "sha": "0" * 40, "siblings": []}

    def _mode(self, path: str) -> dict[str, Any]:
        mode = "lfs" if path.endswith((".safetensors", ".gguf")) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _upload(self, item: dict[str, Any]) -> dict[str, Any]:
        address = {"href": f"{self.url}/blobs/{item['oid']}"}
        return {"oid": item["oid"], "size": item["size"], "actions": {"upload": address}}

    def _commit(self, name: str, body: bytes) -> dict[str, Any]:
        repo = self.repos[name]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                repo.commits.append(value["summary"])
            elif line["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repo.files[value["path"]] = self.blobs[value["oid"]]
        return {"commitUrl": f"{self.url}/{name}/commit/1", "commitOid": "1" * 40, "success": True}

    def _send(self, request: BaseHTTPRequestHandler, status: int, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
