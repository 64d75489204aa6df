"""A gRPC client for the tests: reads one call a line from stdin, answers with one line each, ends with its stdin.

in:  {"target": "127.0.0.1:50051", "metadata": [["authorization", "Bearer .."]]}
     and for another method than the health service's: "method": "Refresh", "message": {"refresh_token": ".."}
out: {"code": "OK", "message": "", "metadata": {"caller": "alice"}, "trailers_only": false, "answer": {}, "ms": 1.2}
"""

import json
import pathlib
import re
import sys
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2

# Far beyond any deadline of the server's: an answer in time is the server's doing.
PATIENCE_S = 15
AUTH = pathlib.Path(__file__).parent.parent / "examples/auth/auth.proto"
SCALARS = {"string": 9, "uint64": 4, "bool": 8}

channels = {}


def channel(target):
    """One for each server, kept over its outages as a real client's is."""
    if target not in channels:
        channels[target] = grpc.insecure_channel(target)
    return channels[target]


def auth_methods():
    """The methods of auth.proto and their messages, read from its text: it keeps to one line for each."""
    text = AUTH.read_text()
    package = re.search(r"^package (.+);", text, re.M)[1]
    file = descriptor_pb2.FileDescriptorProto(name="auth.proto", package=package, syntax="proto3")
    for name, fields in re.findall(r"^message (\w+) {(.*)}", text, re.M):
        message = file.message_type.add(name=name)
        for repeated, kind, field, number in re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", fields):
            field = message.field.add(name=field, number=int(number), label=3 if repeated else 1)
            if kind in SCALARS:
                field.type = SCALARS[kind]
            else:
                field.type, field.type_name = 11, f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind = lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
    found = re.findall(r"rpc (\w+)\((\w+)\) returns \((\w+)\)", text)
    return {method: (f"/{package}.Auth/{method}", kind(asks), kind(gets)) for method, asks, gets in found}


METHODS = auth_methods()
METHODS["Check"] = ("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse)


def call(target, metadata, method="Check", message={}):
    begun = time.monotonic()
    metadata = [tuple(pair) for pair in metadata]
    path, asks, gets = METHODS[method]
    unary = channel(target).unary_unary(
        path, request_serializer=asks.SerializeToString, response_deserializer=gets.FromString
    )
    answer = {}
    try:
        response, done = unary.with_call(asks(**message), metadata=metadata, timeout=PATIENCE_S)
        answer = json_format.MessageToDict(response, preserving_proto_field_name=True)
        if method == "Check":
            assert response.status == health_pb2.HealthCheckResponse.SERVING
    except grpc.RpcError as error:
        done = error
    ms = (time.monotonic() - begun) * 1000
    initial, trailing = done.initial_metadata() or (), done.trailing_metadata() or ()
    return {
        "code": done.code().name,
        "message": done.details(),
        "metadata": dict([*initial, *trailing]),
        # A refusal is one block of headers, which this library calls trailing metadata.
        "trailers_only": not initial,
        "answer": answer,
        "ms": ms,
    }


for line in sys.stdin:
    print(json.dumps(call(**json.loads(line))), flush=True)
