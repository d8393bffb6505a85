#!/usr/bin/env python3
"""A stand-in for a Hugging Face hub and its CDN, for tests. Needs nothing but Python's standard library.

    hub.py ROOT LOG [--token TOKEN] [--gated KIND/ORG/NAME]... [--page ENTRIES]

A repository's revision is a directory: ROOT/models/ORG/NAME/REVISION/... or ROOT/datasets/... Its commit is a digest of what is in
it at the moment of asking, so writing to it moves the revision; every commit that was ever told stays readable, as in git.
Files whose names end as those of weights do lie in LFS: the hub answers with a redirect to the CDN, on a port of its own.

Prints the hub's port and the CDN's. LOG gets one line for each request, before it is answered:

    hub|cdn METHOD TARGET STATUS BYTES-OF-BODY range=RANGE|- auth=yes|no

Faults are switched on by a POST, and are over after so many requests of bytes (break) or of anything (throttle):

    /_test/break?bytes=N&times=K           the connection breaks after N bytes of a body
    /_test/throttle?seconds=S&times=K      429 with Retry-After
    /_test/expire                          what the CDN's links allowed so far is forbidden
"""

import argparse
import hashlib
import json
import os
import sys
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE = (".safetensors", ".bin", ".gguf", ".parquet")


class Refused(Exception):
    def __init__(self, status, code, text, **headers):
        super().__init__(text)
        self.status, self.code, self.headers = status, code, headers


class File:
    def __init__(self, path, data):
        self.path, self.data, self.large = path, data, path.endswith(LARGE)
        self.sha256 = hashlib.sha256(data).hexdigest()
        stored = data
        if self.large:
            stored = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(data)}\n".encode()
        self.oid = hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()
        self.etag = self.sha256 if self.large else self.oid

    def entry(self):
        entry = {"type": "file", "oid": self.oid, "size": len(self.data), "path": self.path}
        if self.large:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.data), "pointerSize": 134}
            # The real hub offers a protocol of its own here, which whoever stands before it may not understand.
            entry["xetHash"] = self.sha256
        return entry


class Truth:
    """The repositories, and every commit and every large file there has been."""

    def __init__(self, root):
        self.root, self.lock = root, threading.Lock()
        self.commits, self.large, self.known = {}, {}, {}

    def load(self, top, full):
        stat = os.stat(full)
        key = (full, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if key not in self.known:
            with open(full, "rb") as file:
                self.known[key] = File(os.path.relpath(full, top), file.read())
        return self.known[key]

    def commit(self, repo, revision):
        with self.lock:
            if (repo, revision) in self.commits:
                return revision, self.commits[(repo, revision)]
            top = os.path.join(self.root, repo)
            if not os.path.isdir(top):
                raise Refused(401, "RepoNotFound", "Repository not found")
            branch = os.path.join(top, revision.replace("/", "%2F"))
            if "/" in revision and not os.path.isdir(branch) or not os.path.isdir(branch):
                raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            full = [os.path.join(at, name) for at, _, names in os.walk(branch) for name in names]
            files = {file.path: file for file in (self.load(branch, path) for path in sorted(full))}
            told = "".join(f"{path}\0{file.oid}\n" for path, file in files.items())
            commit = hashlib.sha1(f"{repo}\n{told}".encode()).hexdigest()
            self.commits[(repo, commit)] = files
            self.large.update({file.sha256: file for file in files.values() if file.large})
            return commit, files


def directories(files):
    found = set()
    for path in files:
        while "/" in path:
            path = path.rpartition("/")[0]
            found.add(path)
    return found


def tree(files, below, recursive):
    prefix = below + "/" if below else ""
    folders = directories(files)
    if below and below not in folders:
        raise Refused(404, "EntryNotFound", f"{below} does not exist")
    entries = [file.entry() for file in files.values()]
    entries += [{"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path} for path in folders]
    entries = [entry for entry in entries if entry["path"].startswith(prefix)]
    if not recursive:
        entries = [entry for entry in entries if "/" not in entry["path"][len(prefix):]]
    return sorted(entries, key=lambda entry: (entry["type"] == "file", entry["path"]))


def split_repo(segments, verb):
    """KIND/ORG/NAME and what follows the verb; names without an organisation are as old as the hub."""
    for length in (3, 2):
        if segments[length:length + 1] == [verb] or verb is None and len(segments) == length:
            return "/".join(segments[:length]), segments[length + 1:]
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body=b""):
        with self.state.lock:
            cut = self.state.take("break", len(body) > self.state.bytes)
            auth = "yes" if "Authorization" in self.headers else "no"
            sent = 0 if self.command == "HEAD" else len(body)
            line = f"{self.side} {self.command} {self.path} {status} {sent} range={self.headers.get('Range', '-')} auth={auth}\n"
            self.state.log.write(line)
            self.state.log.flush()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:self.state.bytes] if cut else body)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def give(self, data, headers):
        """All of the bytes, or the one range that is asked for."""
        headers = {"Accept-Ranges": "bytes", **headers}
        asked = self.headers.get("Range")
        if not asked:
            return self.answer(200, headers, data)
        first, last = asked.removeprefix("bytes=").split("-")
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(int(last) + 1, len(data)) if first and last else len(data)
        if start >= len(data):
            return self.answer(416, {"Content-Range": f"bytes */{len(data)}"})
        self.answer(206, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}, data[start:end])

    def refuse(self, error):
        headers = {"X-Error-Code": error.code, "X-Error-Message": str(error), "Content-Type": "application/json", **error.headers}
        self.answer(error.status, headers, json.dumps({"error": str(error)}).encode())

    def handle_one(self):
        url = urlsplit(self.path)
        try:
            with self.state.lock:
                if self.state.take("throttle", True):
                    raise Refused(429, "TooManyRequests", "We had to rate limit you", **{"Retry-After": self.state.seconds})
            self.serve([unquote(part) for part in url.path.split("/")[1:]], parse_qs(url.query))
        except Refused as error:
            self.refuse(error)

    do_GET = do_HEAD = handle_one

    def do_POST(self):
        url = urlsplit(self.path)
        with self.state.lock:
            self.state.fault(url.path.removeprefix("/_test/"), {name: int(value[0]) for name, value in parse_qs(url.query).items()})
        self.answer(204, {})


class Hub(Handler):
    side = "hub"

    def serve(self, segments, query):
        if segments[:2] == ["api", "resolve-cache"]:
            at = next(at for at, segment in enumerate(segments) if len(segment) == 40)
            repo, commit, path = "/".join(segments[2:at]), segments[at], "/".join(segments[at + 1:])
            return self.small(commit, self.state.truth.commit(repo, commit)[1][path])
        if segments[0] == "api":
            return self.api(segments[1:], query)
        kind = [] if segments[0] == "datasets" else ["models"]
        asked = split_repo(kind + segments, "resolve")
        if asked is None:
            raise Refused(404, "NotFound", "Sorry, we can't find the page you are looking for.")
        self.resolve(asked[0], asked[1][0], "/".join(asked[1][1:]))

    def api(self, segments, query):
        if asked := split_repo(segments, "tree"):
            return self.tree(asked[0], asked[1][0], "/".join(asked[1][1:]), query)
        if asked := split_repo(segments, "refs"):
            names = os.listdir(os.path.join(self.state.truth.root, asked[0]))
            branches = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": self.open(asked[0], name)[1]} for name in sorted(names)]
            return self.answer(200, {}, json.dumps({"branches": branches, "converts": [], "tags": []}).encode())
        if asked := split_repo(segments, "commits"):
            one = {"id": self.open(asked[0], asked[1][0])[1], "title": "all of it", "message": "", "authors": [], "date": "2026-01-01T00:00:00.000Z"}
            return self.answer(200, {}, json.dumps([one]).encode())
        asked = split_repo(segments, "revision") or split_repo(segments, None)
        if asked is None:
            raise Refused(404, "NotFound", "Sorry, we can't find the page you are looking for.")
        repo, commit, files = self.open(asked[0], "/".join(asked[1]) or "main")
        name = repo.partition("/")[2]
        about = {"id": name, "modelId": name, "sha": commit, "private": False, "gated": repo in self.state.gated and "auto",
                 "lastModified": "2026-01-01T00:00:00.000Z", "tags": [], "downloads": 0, "likes": 0,
                 "siblings": [{"rfilename": path} for path in files]}
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(about).encode())

    def open(self, repo, revision):
        commit, files = self.state.truth.commit(repo, revision)
        return repo, commit, files

    def tree(self, repo, revision, below, query):
        _, _, files = self.open(repo, revision)
        entries = tree(files, below, query.get("recursive", ["false"])[0].lower() == "true")
        limit = min(int(query.get("limit", [self.state.page])[0]), self.state.page)
        start = int(query.get("cursor", ["0"])[0])
        headers = {"Content-Type": "application/json"}
        if start + limit < len(entries):
            flat = {name: value[0] for name, value in query.items()} | {"cursor": str(start + limit)}
            again = "&".join(f"{name}={quote(value)}" for name, value in flat.items())
            headers["Link"] = f'<http://{self.headers["Host"]}{urlsplit(self.path).path}?{again}>; rel="next"'
        self.answer(200, headers, json.dumps(entries[start:start + limit]).encode())

    def resolve(self, repo, revision, path):
        _, commit, files = self.open(repo, revision)
        if repo in self.state.gated and self.headers.get("Authorization") != f"Bearer {self.state.token}":
            raise Refused(401, "GatedRepo", f"Access to {repo} is restricted. You must have access to it and be authenticated.")
        if path not in files:
            raise Refused(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit})
        file = files[path]
        linked = {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": len(file.data)}
        if file.large:
            where = f"http://127.0.0.1:{self.state.cdn}/{file.sha256}?signed={self.state.signature}"
            self.answer(302, {**linked, "Location": where, "X-Xet-Hash": file.sha256})
        else:
            self.answer(307, {**linked, "Location": f"/api/resolve-cache/{repo}/{commit}/{quote(path)}"})

    def small(self, commit, file):
        self.give(file.data, {"X-Repo-Commit": commit, "ETag": f'"{file.etag}"'})


class Cdn(Handler):
    side = "cdn"

    def serve(self, segments, query):
        if "Authorization" in self.headers:
            raise Refused(400, "InvalidArgument", "Only one auth mechanism allowed")
        if query.get("signed") != [str(self.state.signature)]:
            raise Refused(403, "AccessDenied", "Request has expired")
        file = self.state.truth.large[segments[0]]
        # Not the hub's: an object store has its own.
        etag = hashlib.md5(file.data).hexdigest()
        self.give(file.data, {"ETag": f'"{etag}"', "Last-Modified": formatdate(0, usegmt=True)})


class State:
    def __init__(self, args):
        self.truth, self.token, self.gated, self.page = Truth(args.root), args.token, set(args.gated), args.page
        self.log, self.lock = open(args.log, "a"), threading.Lock()
        self.left = {"break": 0, "throttle": 0}
        self.bytes, self.seconds, self.signature, self.cdn = 0, 0, 1, 0

    def fault(self, name, values):
        if name == "expire":
            self.signature += 1
        else:
            self.left[name] = values["times"]
        self.bytes, self.seconds = values.get("bytes", self.bytes), values.get("seconds", self.seconds)

    def take(self, fault, applies):
        if not applies or not self.left[fault]:
            return False
        self.left[fault] -= 1
        return True


class Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request, address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, address)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("log")
    parser.add_argument("--token", default="")
    parser.add_argument("--gated", action="append", default=[])
    parser.add_argument("--page", type=int, default=1000)
    Handler.state = state = State(parser.parse_args())
    hub, cdn = Server(("127.0.0.1", 0), Hub), Server(("127.0.0.1", 0), Cdn)
    state.cdn = cdn.server_port
    for server in (hub, cdn):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(hub.server_port, cdn.server_port, flush=True)
    # Whoever started it holds the other end of this pipe: no test leaves a server behind.
    sys.stdin.read()


if __name__ == "__main__":
    main()
