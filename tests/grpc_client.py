"""A gRPC client for the tests: reads one call a line from stdin, answers with one line each, ends with its stdin.

in:  {"target": "127.0.0.1:50051", "metadata": [["authorization", "Bearer .."]]}
out: {"code": "OK", "message": "", "metadata": {"caller": "alice"}, "ms": 1.2}
"""

import json
import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# Far beyond any deadline of the server's: an answer in time is the server's doing.
PATIENCE_S = 15

stubs = {}


def stub(target):
    """One channel for each server, kept over its outages as a real client's is."""
    if target not in stubs:
        stubs[target] = health_pb2_grpc.HealthStub(grpc.insecure_channel(target))
    return stubs[target]


def call(target, metadata):
    begun = time.monotonic()
    metadata = [tuple(pair) for pair in metadata]
    request = health_pb2.HealthCheckRequest()
    try:
        response, done = stub(target).Check.with_call(request, metadata=metadata, timeout=PATIENCE_S)
        assert response.status == health_pb2.HealthCheckResponse.SERVING
    except grpc.RpcError as error:
        done = error
    ms = (time.monotonic() - begun) * 1000
    # A refusal is one block of headers, which this library calls trailing metadata.
    seen = [*(done.initial_metadata() or ()), *(done.trailing_metadata() or ())]
    return {"code": done.code().name, "message": done.details(), "metadata": dict(seen), "ms": ms}


for line in sys.stdin:
    print(json.dumps(call(**json.loads(line))), flush=True)
