"""A Hub on loopback: the few endpoints that pushing and pulling use, with repositories in memory and commits by hash.

async with HubServer() as hub: ...; `hub.repos` holds what was pushed, `hub.server.requests` what was asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from web_server import Reply, Request, WebServer


class _Pages(dict[str, Any]):
    """Every path is answered by the Hub."""

    def __init__(self, hub: HubServer) -> None:
        super().__init__()
        self.hub = hub

    def get(self, path: str, default: Any = None) -> Any:
        return self.hub.answer


class HubServer:
    """`token`: what a request must carry; None lets everybody in."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.created: list[dict[str, Any]] = []
        self.commits: dict[str, list[tuple[str, Mapping[str, bytes]]]] = {}
        """Repository -> its commits, oldest first: hash, files."""
        self.server = WebServer({})
        self.server.pages = _Pages(self)

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.server.__aexit__(*exc)

    @property
    def url(self) -> str:
        return self.server.url("").rstrip("/")

    def commit(self, repo: str, files: Mapping[str, bytes]) -> str:
        """Put files into a repository, beside those that it has; the hash."""
        before = self.commits.setdefault(repo, [])
        now = {**(before[-1][1] if before else {}), **files}
        sha = hashlib.sha1(repr((len(before), sorted(now.items()))).encode()).hexdigest()
        before.append((sha, now))
        return sha

    def answer(self, request: Request) -> Reply:
        """What a request is answered with."""
        path = unquote(urlsplit(request.path).path).strip("/")
        if path and self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return _said({"error": "Invalid credentials"}, 401)
        if path == "api/repos/create":
            return self._create(json.loads(request.body))
        if path.startswith("api/"):
            return self._api(path.split("/")[1:], request)
        parts = path.split("/")
        if "resolve" in parts:
            at = parts.index("resolve")
            kind = parts[0] if at == 3 else "models"
            return self._file(
                f"{kind}/{'/'.join(parts[at - 2 : at])}", parts[at + 1], "/".join(parts[at + 2 :]), request
            )
        return Reply(b"", 200 if not path else 404)

    def _create(self, asked: dict[str, Any]) -> Reply:
        self.created.append(asked)
        repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else f"me/{asked['name']}"
        known = f"{asked.get('type', 'model')}s/{repo}"
        if known in self.commits:
            return _said({"error": "You already created this repo", "url": f"{self.url}/{repo}"}, 409)
        self.commits[known] = []
        return _said({"url": f"{self.url}/{repo}", "name": repo})

    def _api(self, parts: list[str], request: Request) -> Reply:
        kind, owner, name, *verb = parts
        repo = f"{kind}/{owner}/{name}"
        if repo not in self.commits:
            return _missing("RepoNotFound")
        if verb[:1] == ["preupload"]:
            files = json.loads(request.body)["files"]
            modes = [{"path": item["path"], "uploadMode": "regular", "shouldIgnore": False} for item in files]
            return _said({"files": modes})
        if verb[:1] == ["commit"]:
            lines = [json.loads(line) for line in request.body.splitlines()]
            added = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            sha = self.commit(repo, added)
            return _said({"success": True, "commitOid": sha, "commitUrl": f"{self.url}/{owner}/{name}/commit/{sha}"})
        revision = verb[1] if verb[:1] == ["revision"] else "main"
        found = self._at(repo, revision)
        if found is None:
            return _missing("RevisionNotFound")
        sha, held = found
        blobs = "blobs" in parse_qs(urlsplit(request.path).query)
        siblings = [{"rfilename": path, **({"size": len(body)} if blobs else {})} for path, body in held.items()]
        return _said({"id": f"{owner}/{name}", "sha": sha, "siblings": siblings, "private": True, "tags": []})

    def _at(self, repo: str, revision: str) -> tuple[str, Mapping[str, bytes]] | None:
        commits = self.commits.get(repo, [])
        if revision == "main":
            return commits[-1] if commits else None
        return next((commit for commit in commits if commit[0] == revision), None)

    def _file(self, repo: str, revision: str, path: str, request: Request) -> Reply:
        found = self._at(repo, revision)
        if found is None or path not in found[1]:
            return _missing("EntryNotFound")
        body = found[1][path]
        said = {
            "X-Repo-Commit": found[0],
            "ETag": f'"{hashlib.sha1(body).hexdigest()}"',
            "Content-Length": str(len(body)),
        }
        return Reply(b"" if request.method == "HEAD" else body, headers=said)


def _said(body: object, status: int = 200) -> Reply:
    return Reply(json.dumps(body).encode(), status, {"Content-Type": "application/json"})


def _missing(code: str) -> Reply:
    return Reply(b"{}", 404, {"X-Error-Code": code, "X-Error-Message": "not here", "Content-Type": "application/json"})
