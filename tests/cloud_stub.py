"""Google Cloud on the loopback interface: the parts of Cloud Storage and Dataflow that a submitted job asks.

Beam's own clients reach it through STORAGE_EMULATOR_HOST and --dataflow_endpoint. TensorFlow's reaches
https://www.googleapis.com through a proxy, which is this server too: it ends TLS with a certificate of its own.
"""

import base64
import contextlib
import datetime
import email
import hashlib
import http.client
import http.server
import ipaddress
import itertools
import json
import pathlib
import re
import ssl
import subprocess
import sys
import threading
import urllib.parse
from typing import Any

import google_crc32c

CERTIFICATE = "certificate.pem"
_HOSTS = ("www.googleapis.com", "storage.googleapis.com")
_OBJECT = r"/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)"
_TIME = "2025-01-01T00:00:00.000Z"


class Cloud:
    """The client of a stub that runs in a process of its own, as TensorFlow holds Python's lock while it waits for it.

    Attributes:
        environment: what makes the clients of Beam and of TensorFlow go there, and look for credentials nowhere.
        endpoint: for --dataflow_endpoint.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def __enter__(self) -> "Cloud":
        command = [sys.executable, __file__, str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._port = int(self._process.stdout.readline())
        self.endpoint = f"http://localhost:{self._port}"
        self.environment = {
            "STORAGE_EMULATOR_HOST": self.endpoint,
            "https_proxy": self.endpoint,
            "CURL_CA_BUNDLE": str(self._folder / CERTIFICATE),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "of-a-test",
            "NO_GCE_CHECK": "true",
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        connection = http.client.HTTPConnection("localhost", self._port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            return connection.getresponse().read()

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """The jobs that were created, as they were sent."""
        return json.loads(self._ask("GET", "/stub/jobs"))

    def set_state(self, state: str) -> None:
        """The state of all jobs, as Dataflow spells it."""
        self._ask("PUT", "/stub/state", state.encode())

    def names(self, path: str) -> list[str]:
        """The objects below `bucket/folder`, without the empty ones that stand for folders; all is in their names."""
        bucket, _, folder = path.partition("/")
        found = json.loads(self._ask("GET", f"/storage/v1/b/{bucket}/o?prefix={folder.rstrip('/')}/"))["items"]
        return [f"{bucket}/{item['name']}" for item in found if not item["name"].endswith("/")]

    def read(self, name: str) -> bytes:
        """The bytes of `bucket/name`."""
        bucket, _, rest = name.partition("/")
        return self._ask("GET", f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(rest, safe='')}?alt=media")

    def below(self, path: str) -> dict[str, bytes]:
        """The objects below `bucket/folder` by their names in it."""
        prefix = path.rstrip("/") + "/"
        return {name.removeprefix(prefix): self.read(name) for name in self.names(path)}

    def write(self, name: str, data: bytes) -> None:
        """An object `bucket/name`."""
        bucket, _, rest = name.partition("/")
        quoted = urllib.parse.quote(rest, safe="")
        self._ask("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quoted}", data)

    def upload(self, folder: pathlib.Path, path: str) -> None:
        """All files below a folder, to `bucket/folder`."""
        for file in folder.rglob("*"):
            if file.is_file():
                self.write(f"{path}/{file.relative_to(folder).as_posix()}", file.read_bytes())


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


def serve(folder: pathlib.Path) -> None:
    """Answers on a port of its own choice, which it prints, until it is ended."""
    stub, tls = Stub(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*_certificate(folder))
    handler = type("Bound", (_Handler,), {"cloud": stub, "tls": tls})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    stub.host = f"localhost:{server.server_address[1]}"
    print(server.server_address[1], flush=True)
    server.serve_forever()


def _certificate(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Files of a certificate for Google's hosts that signs itself, and of its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    names = [*map(x509.DNSName, (*_HOSTS, "localhost")), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / CERTIFICATE, folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return files


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cloud: Stub
    tls: ssl.SSLContext

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_CONNECT(self) -> None:
        """Goes on in TLS, as if this were the host that was asked for."""
        self.send_response(200)
        self.end_headers()
        self.connection = self.request = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
        self.close_connection = False

    def _any(self) -> None:
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")  # curl says a length as well
        body = self._chunks() if chunked else self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, headers, answer = answer_of(self.cloud, self.command, self.path, dict(self.headers.items()), body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _any


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
        if headers.get("host", "").startswith(_HOSTS):
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


if __name__ == "__main__":
    serve(pathlib.Path(sys.argv[1]))
