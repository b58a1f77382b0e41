"""A collector: takes spans by OpenTelemetry's protocol, in both forms, and writes one a line as JSON to the file that is
named. Prints its port. Protobuf is decoded by OpenTelemetry's own messages."""
import http.server
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def plain(attributes):
    values = {one.key: one.value for one in attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest()
        if self.headers["content-type"] == "application/json":
            told = json.loads(body)
            # Ids are in hexadecimal here, and in base64 in protobuf's own JSON.
            for one in told["resourceSpans"]:
                for span in (span for scope in one["scopeSpans"] for span in scope["spans"]):
                    for key in ("traceId", "spanId", "parentSpanId"):
                        span[key] = __import__("base64").b64encode(bytes.fromhex(span[key])).decode()
            json_format.ParseDict(told, request)
        else:
            request.ParseFromString(body)
        with open(sys.argv[1], "a") as file:
            for one in request.resource_spans:
                for span in (span for scope in one.scope_spans for span in scope.spans):
                    told = {
                        "path": self.path,
                        "form": self.headers["content-type"],
                        "header": self.headers["x-tenant"],
                        "resource": plain(one.resource.attributes),
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "state": span.trace_state,
                        "name": span.name,
                        "begun": span.start_time_unix_nano,
                        "ended": span.end_time_unix_nano,
                        "facts": plain(span.attributes),
                        "status": span.status.code,
                        "message": span.status.message,
                    }
                    file.write(json.dumps(told) + "\n")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
