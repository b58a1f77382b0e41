"""A server that answers as it is told and notes all that it gets.

Usage: scripted.py ADDRESS PORT RULES [CERTIFICATE KEY]. RULES is a file of JSON: a list of [method, part of the path,
status, headers, body]; the first rule that fits a request answers it, and 404 where none does. Each request is a line of
JSON on stdout: its method, path, credentials and body.
"""
import http.server, json, ssl, sys

ADDRESS, PORT, RULES = sys.argv[1], int(sys.argv[2]), sys.argv[3]
SECRETS = ("authorization", "cookie", "x-secret")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, text, *values):
        pass

    def serve(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        credentials = [value for name, value in self.headers.items() if name.lower() in SECRETS]
        seen = dict(method=self.command, path=self.path, credentials=credentials, body=body.decode("latin-1"))
        print(json.dumps(seen), flush=True)
        with open(RULES) as file:
            rules = json.load(file)
        fits = (rule for rule in rules if rule[0] == self.command and rule[1] in self.path)
        _, _, status, headers, text = next(fits, [None, None, 404, {}, ""])
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve


server = http.server.ThreadingHTTPServer((ADDRESS, PORT), Handler)
if len(sys.argv) > 4:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4], sys.argv[5])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
