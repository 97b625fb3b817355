"""Google Cloud on the loopback interface: the parts of Cloud Storage and Dataflow that a submitted job asks.

Beam's own clients reach it through STORAGE_EMULATOR_HOST and --dataflow_endpoint. TensorFlow's reaches
https://www.googleapis.com through a proxy, which is this server too: it ends TLS with a certificate of its own.
"""

import contextlib
import datetime
import http.client
import http.server
import ipaddress
import json
import pathlib
import ssl
import subprocess
import sys
import urllib.parse
from typing import Any

from cloud_answers import HOSTS, Stub, answer_of

CERTIFICATE = "certificate.pem"


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
    names = [*map(x509.DNSName, (*HOSTS, "localhost")), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
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


if __name__ == "__main__":
    serve(pathlib.Path(sys.argv[1]))
