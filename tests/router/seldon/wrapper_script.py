"""Asks classes by seldon-core's own wrapper, over HTTP and gRPC, in an environment of its own.

argv is the folder of ``components.py``. Standard input is a list of ``[class, arguments, method,
message]``, standard output a list of ``[[status, document], [code, document or details]]``.
"""

import json
import os
import sys

import grpc
from google.protobuf import json_format
from seldon_core.metrics import SeldonMetrics
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc
from seldon_core.wrapper import get_grpc_server, get_rest_microservice

METHODS = {
    "predict": ("/predict", "Model", "Predict"),
    "transform_input": ("/transform-input", "Transformer", "TransformInput"),
    "transform_output": ("/transform-output", "OutputTransformer", "TransformOutput"),
    "route": ("/route", "Router", "Route"),
    "aggregate": ("/aggregate", "Combiner", "Aggregate"),
}


def made(cls, args):
    component = getattr(components, cls)(**args)
    if hasattr(component, "load"):
        component.load()
    return component


def over_http(component, path, message):
    app = get_rest_microservice(component, SeldonMetrics(worker_id_func=os.getpid))
    reply = app.test_client().post(path, json=message)
    return [reply.status_code, reply.get_json()]


def over_grpc(component, service, method, message):
    server = get_grpc_server(component, SeldonMetrics(worker_id_func=os.getpid))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    kind = (
        prediction_pb2.SeldonMessageList if method == "Aggregate" else prediction_pb2.SeldonMessage
    )
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = getattr(prediction_pb2_grpc, f"{service}Stub")(channel)
            reply = getattr(stub, method)(json_format.ParseDict(message, kind()), timeout=30)
            return ["OK", json_format.MessageToDict(reply)]
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    finally:
        server.stop(0)


def asked(cls, args, method, message):
    path, service, name = METHODS[method]
    return [
        over_http(made(cls, args), path, message),
        over_grpc(made(cls, args), service, name, message),
    ]


sys.path.insert(0, sys.argv[1])
import components  # noqa: E402 - of the folder

print(json.dumps([asked(*case) for case in json.load(sys.stdin)]))
