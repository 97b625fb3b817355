"""What Cloud Storage and Dataflow answer to the calls of Beam's and TensorFlow's clients."""

import base64
import email
import hashlib
import itertools
import json
import re
import threading
import urllib.parse
from typing import Any

import google_crc32c

HOSTS = ("www.googleapis.com", "storage.googleapis.com")
_OBJECT = r"/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)"
_TIME = "2025-01-01T00:00:00.000Z"


class Stub:
    """What the server holds."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.jobs: list[dict[str, Any]] = []
        self.state = "JOB_STATE_DONE"
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.sessions = itertools.count(1)
        self.lock = threading.Lock()
        self.host = ""


Answer = tuple[int, dict[str, str], bytes]


def _json(value: object, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json; charset=UTF-8"}, json.dumps(value).encode()


_ABSENT = _json({"error": {"code": 404, "message": "not found"}}, 404)


def answer_of(cloud: Stub, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    """What the service of this path says."""
    url = urllib.parse.urlsplit(path)
    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    headers = {name.lower(): value for name, value in headers.items()}
    if url.path.startswith("/v1b3/"):
        return _dataflow(cloud, method, url.path, body)
    if url.path.startswith("/stub/"):
        return _stub(cloud, method, body)
    if url.path.startswith("/batch/"):
        return _batch(cloud, headers, body)
    if url.path.startswith("/upload/"):
        return _upload(cloud, method, url.path, query, headers, body)
    if found := re.fullmatch(rf"/storage/v1{_OBJECT}/(?:copyTo|rewriteTo)/b/(?P<to>[^/]+)/o/(?P<at>[^/]+)", url.path):
        return _copy(cloud, *map(urllib.parse.unquote, found.groups()))
    if found := re.fullmatch(rf"(?:/download)?/storage/v1{_OBJECT}", url.path):
        return _object(cloud, method, *map(urllib.parse.unquote, found.groups()), query, headers)
    if found := re.fullmatch(r"/storage/v1/b/([^/]+)/o", url.path):
        return _list(cloud, found[1], query)
    if found := re.fullmatch(r"/storage/v1/b/([^/]+)/storageLayout", url.path):
        return _json({"kind": "storage#storageLayout", "bucket": found[1], "hierarchicalNamespace": {"enabled": False}})
    if found := re.fullmatch(r"/storage/v1/b/([^/]+)", url.path):
        return _json({"kind": "storage#bucket", "name": found[1], "id": found[1], "location": "US"})
    if found := re.fullmatch(r"/([^/]+)/(.+)", url.path):  # as TensorFlow reads an object
        return _object(cloud, method, *map(urllib.parse.unquote, found.groups()), {"alt": "media"}, headers)
    return _ABSENT


def _stub(cloud: Stub, method: str, body: bytes) -> Answer:
    """What a test asks."""
    if method == "PUT":
        cloud.state = body.decode()
    return _json(cloud.jobs)


def _described(bucket: str, name: str, data: bytes) -> dict[str, str]:
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "size": str(len(data)),
        "generation": str(int(hashlib.sha256(data).hexdigest()[:12], 16) + 1),
        "crc32c": base64.b64encode(google_crc32c.Checksum(data).digest()).decode(),
        "updated": _TIME,
        "timeCreated": _TIME,
        "contentType": "application/octet-stream",
    }


def _object(cloud: Stub, method: str, bucket: str, name: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
    data = cloud.objects.get(f"{bucket}/{name}")
    if data is None:
        return _ABSENT
    if method == "DELETE":
        del cloud.objects[f"{bucket}/{name}"]
        return 204, {}, b""
    if query.get("alt") != "media":
        return _json(_described(bucket, name, data))
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
    if not found:
        return 200, {"Content-Type": "application/octet-stream"}, data
    start, end = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
    if start >= len(data):
        return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
    return 206, {"Content-Range": f"bytes {start}-{end}/{len(data)}"}, data[start : end + 1]


def _list(cloud: Stub, bucket: str, query: dict[str, str]) -> Answer:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
    with cloud.lock:
        known = sorted(cloud.objects)
    names = [name.removeprefix(f"{bucket}/") for name in known if name.startswith(f"{bucket}/{prefix}")]
    folders = set()
    if delimiter:
        folders = {prefix + name[len(prefix) :].split("/")[0] + "/" for name in names if "/" in name[len(prefix) :]}
        names = [name for name in names if "/" not in name[len(prefix) :]]
    items = [_described(bucket, name, cloud.objects.get(f"{bucket}/{name}", b"")) for name in names]
    return _json({"kind": "storage#objects", "items": items, "prefixes": sorted(folders)})


def _copy(cloud: Stub, bucket: str, name: str, to: str, at: str) -> Answer:
    data = cloud.objects.get(f"{bucket}/{name}")
    if data is None:
        return _ABSENT
    cloud.objects[f"{to}/{at}"] = data
    described = _described(to, at, data)
    return _json({**described, "done": True, "resource": described, "objectSize": str(len(data))})


def _upload(cloud: Stub, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Answer:
    """A new object: at once, or in parts that a session puts together."""
    bucket = path.split("/")[5]
    if query.get("uploadType") == "media":
        return _stored(cloud, bucket, query["name"], body)
    if query.get("uploadType") == "multipart":
        message = email.message_from_bytes(b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
        described, data = (part.get_payload(decode=True) for part in message.get_payload())
        return _stored(cloud, bucket, json.loads(described)["name"], data)
    if method == "POST":
        name = query.get("name") or json.loads(body)["name"]
        session = str(next(cloud.sessions))
        cloud.uploads[session] = f"{bucket}/{name}", bytearray()
        parts = {"Location": f"http://{cloud.host}{path}?uploadType=resumable&upload_id={session}"}
        if headers.get("host", "").startswith(HOSTS):
            parts = {"Location": f"https://{headers['host']}{path}?uploadType=resumable&upload_id={session}"}
        return 200, parts, b""
    name, data = cloud.uploads[query["upload_id"]]
    data += body
    total = headers.get("content-range", "").rpartition("/")[2]
    if total == "*" or (total.isdigit() and int(total) > len(data)):
        return 308, {"Range": f"bytes=0-{len(data) - 1}"} if data else {}, b""
    return _stored(cloud, bucket, name.removeprefix(f"{bucket}/"), bytes(data))


def _stored(cloud: Stub, bucket: str, name: str, data: bytes) -> Answer:
    with cloud.lock:
        cloud.objects[f"{bucket}/{name}"] = data
    return _json(_described(bucket, name, data))


def _batch(cloud: Stub, headers: dict[str, str], body: bytes) -> Answer:
    """Several requests in one, each with its answer."""
    message = email.message_from_bytes(b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
    parts = []
    for part in message.get_payload():
        request = part.get_payload().lstrip().splitlines()[0]
        method, target, _ = request.split()
        path = urllib.parse.urlsplit(target)
        status, _, answer = answer_of(cloud, method, path._replace(scheme="", netloc="").geturl(), {}, b"")
        parts.append(
            f"--batch\r\nContent-Type: application/http\r\n\r\n"
            f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\n\r\n{answer.decode()}\r\n"
        )
    return 200, {"Content-Type": "multipart/mixed; boundary=batch"}, ("".join(parts) + "--batch--\r\n").encode()


def _dataflow(cloud: Stub, method: str, path: str, body: bytes) -> Answer:
    """Jobs; each is in the cloud's state."""
    if path.endswith("/messages"):
        return _json({"jobMessages": []})
    if path.endswith("/metrics"):
        return _json({"metrics": []})
    if method == "POST":
        cloud.jobs.append(json.loads(body))
    number = len(cloud.jobs) if method == "POST" else int(path.rpartition("-")[2])
    job = cloud.jobs[number - 1]
    known = {name: job[name] for name in ("name", "clientRequestId", "labels") if name in job}
    return _json({"id": f"2025-01-01_00_00_00-{number}", "currentState": cloud.state, "projectId": "p", **known})
