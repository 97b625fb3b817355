"""What TensorFlow Serving's REST and gRPC interfaces do with a SavedModel, on loopback: no package ships its binary.

The session is TensorFlow's own in C++, as there, but for a model whose ops Python registers; what is checked, and
what becomes of inputs that are left out, is as in predict_util.cc and json_tensor.cc of
https://github.com/tensorflow/serving.
"""

import concurrent.futures
import http.server
import json
import pathlib
import re
import threading
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from recsys_tft.serving import served_models
from recsys_tft.serving.c_library import GraphError

SIGNATURE = "serving_default"


class Invalid(Exception):
    """A request that the server refuses."""


class ModelServer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """A server of the models in a folder, of which each is in NAME/N.

    Args:
        folder: such as out/serving.
        names: of the models.

    Attributes:
        models: that are loaded, by name.
        rest: the address of the REST interface, as http://127.0.0.1:1.
        grpc: the address of the gRPC interface, as 127.0.0.1:1.
    """

    def __init__(self, folder: pathlib.Path, *names: str):
        paths = {name: max((folder / name).iterdir(), key=lambda version: int(version.name)) for name in names}
        self.models = {name: served_models.load(str(path), "") for name, path in paths.items()}
        self._defaults = {name: _defaults(path) for name, path in paths.items()}
        self._grpc = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._grpc)
        self.grpc = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Rest", (_Rest,), {"server_of": self}))
        self.rest = f"http://127.0.0.1:{self._rest.server_address[1]}"

    def __enter__(self) -> "ModelServer":
        self._grpc.start()
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._grpc.stop(None).wait()
        self._rest.shutdown()
        self._rest.server_close()

    def run(self, name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature, in its dtypes; inputs that are left out are what the signature says."""
        model = self.models[name]
        wanted = model.signatures[signature].inputs
        inputs = {**self._defaults[name][signature], **inputs}
        if unknown := set(inputs) - set(wanted):
            raise Invalid(f"input tensor alias not found in signature: {min(unknown)}")
        if missing := set(wanted) - set(inputs):
            raise Invalid(f"request inputs do not match required inputs; missing: {sorted(missing)}")
        for key, values in inputs.items():
            if values.dtype != wanted[key].dtype:
                raise Invalid(f"input {key} is {values.dtype}, not {wanted[key].dtype}")
        try:
            return model.run(signature, inputs)
        except (GraphError, tf.errors.InvalidArgumentError) as error:
            raise Invalid(str(error)) from error

    def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        spec = request.model_spec
        try:
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            found = self.run(spec.name, spec.signature_name or SIGNATURE, inputs)
        except Invalid as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = predict_pb2.PredictResponse()
        for key, values in found.items():
            answer.outputs[key].CopyFrom(tf.make_tensor_proto(values))
        return answer

    def predict(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of the REST interface to a body in the column format (`inputs`) or the row format."""
        signature = body.get("signature_name", SIGNATURE)
        slots = self.models[name].signatures[signature].inputs
        by_row = "instances" in body
        for given in body["instances"] if by_row else [body["inputs"]]:
            if set(given) != set(slots):
                raise Invalid(f"JSON object: keys must be equal to: {','.join(sorted(slots))}")
        given = {key: [row[key] for row in body["instances"]] for key in slots} if by_row else body["inputs"]
        found = self.run(name, signature, {key: _tensor(value, slots[key].dtype) for key, value in given.items()})
        plain = {key: _plain(values.tolist()) for key, values in found.items()}
        (only, *others) = plain
        if by_row:
            keyed = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
            return {"predictions": keyed if others else plain[only]}
        return {"outputs": plain if others else plain[only]}


def _defaults(folder: pathlib.Path) -> dict[str, dict[str, np.ndarray]]:
    """What inputs are that a request leaves out, by signature."""
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signatures = model.meta_graphs[0].signature_def
    return {
        name: {key: tf.make_ndarray(value) for key, value in signature.defaults.items()}
        for name, signature in signatures.items()
    }


def _tensor(value: Any, dtype: np.dtype) -> np.ndarray:
    """The tensor of JSON lists, which have to be of one shape, and of values of the signature's type."""
    kinds = {np.dtype(object): str, np.dtype(np.float32): (int, float)}
    try:
        found = np.array(value, object)
    except ValueError:
        raise Invalid(f"JSON Value: {json.dumps(value)} is no tensor") from None
    if not all(isinstance(leaf, kinds.get(dtype, int)) and not isinstance(leaf, bool) for leaf in found.ravel()):
        raise Invalid(f"JSON Value: {json.dumps(value)} is not of the type {dtype}")
    return found.astype(dtype)


def _plain(values: Any) -> Any:
    if isinstance(values, list):
        return [_plain(value) for value in values]
    return values.decode() if isinstance(values, bytes) else values


class _Rest(http.server.BaseHTTPRequestHandler):
    server_of: ModelServer

    def do_POST(self) -> None:
        name = re.fullmatch(r"/v1/models/(\w+):predict", self.path).group(1)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            status, answer = 200, self.server_of.predict(name, body)
        except Invalid as error:
            status, answer = 400, {"error": str(error)}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
