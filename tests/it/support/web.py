"""An HTTPS server for tests: files, well and badly served, and Git repositories by git-http-backend.

Usage: web.py PORT DIRECTORY CERTIFICATE KEY. The first part of a path says how the rest is served.
"""
import base64, hashlib, http.server, json, os, re, ssl, subprocess, sys, threading, urllib.parse

PORT, ROOT, CERTIFICATE, KEY = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
SECRET = "hermit-crab-shell"
LOGINS = {"Bearer " + SECRET} | {
    "Basic " + base64.b64encode(text.encode()).decode()
    for text in ("builder:" + SECRET, SECRET + ":", "oauth2:" + SECRET, "x-access-token:" + SECRET)
}
COUNTS, LOCK = {}, threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, text, *values):
        print(self.command, self.path, text % values, flush=True)

    def refuse(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.serve()

    def do_POST(self):
        self.serve()

    def serve(self):
        path, _, query = self.path.partition("?")
        _, way, rest = (urllib.parse.unquote(path).split("/", 2) + ["", ""])[:3]
        with LOCK:
            count = COUNTS[path] = COUNTS.get(path, 0) + 1
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        if way in ("auth", "gitauth", "index") and self.headers.get("Authorization") not in LOGINS:
            return self.refuse(401, WWW_Authenticate='Basic realm="shore"')
        if way in ("git", "gitauth"):
            if rest.endswith("/info/lfs/objects/batch"):
                return self.lfs(json.loads(body))
            return self.git(rest, query, body)
        if way == "busy" and count < 3:
            return self.refuse(503, Retry_After="0")
        if way == "moved":
            return self.refuse(302, Location="/files/" + rest)
        if way == "index" and rest.endswith("/"):
            rest += "index.html"
        try:
            with open(os.path.join(ROOT, rest), "rb") as file:
                self.file(file, way, count)
        except FileNotFoundError:
            self.refuse(404)

    def file(self, file, way, count):
        size = os.fstat(file.fileno()).st_size
        first, last, status = 0, size - 1, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        ranges = way != "plain"
        if asked and ranges:
            status, first = 206, int(asked[1])
            last = min(int(asked[2] or last), last)
        self.send_response(status)
        self.send_header("Content-Length", str(last + 1 - first))
        if way == "index":
            # What a registry of packages says of files that never change.
            self.send_header("Cache-Control", "max-age=31536000, immutable")
            self.send_header("Content-Type", "text/html" if file.name.endswith(".html") else "application/octet-stream")
        if ranges:
            self.send_header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", '"%s"' % hashlib.sha256(file.read(65536) + b"%d" % size).hexdigest()[:16])
        if status == 206:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (first, last, size))
        self.end_headers()
        left = last + 1 - first
        if way == "cut" and count % 2 == 1:
            left = left * 3 // 5
            self.close_connection = True
        file.seek(first)
        try:
            while left > 0:
                left -= self.wfile.write(file.read(min(left, 1 << 20)))
        except OSError:
            self.close_connection = True

    def git(self, path, query, body):
        # libgit2 asks without compression; the length is known.
        environment = dict(
            PATH=os.environ["PATH"], GIT_PROJECT_ROOT=ROOT, GIT_HTTP_EXPORT_ALL="1", PATH_INFO="/" + path,
            REQUEST_METHOD=self.command, QUERY_STRING=query, CONTENT_LENGTH=str(len(body)),
            CONTENT_TYPE=self.headers.get("Content-Type") or "", REMOTE_ADDR="127.0.0.1", REMOTE_USER="builder",
            GIT_CONFIG_COUNT="2", GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*",
            GIT_CONFIG_KEY_1="uploadpack.allowAnySHA1InWant", GIT_CONFIG_VALUE_1="true",
        )
        answer = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        headers = [line.decode().split(": ", 1) for line in head.split(b"\r\n") if b": " in line]
        status = next((int(value.split()[0]) for name, value in headers if name == "Status"), 200)
        self.send_response(status)
        for name, value in headers:
            if name not in ("Status", "Content-Length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def lfs(self, batch):
        objects = []
        for wanted in batch["objects"]:
            if os.path.exists(os.path.join(ROOT, wanted["oid"])):
                href = "https://127.0.0.1:%d/auth/%s" % (PORT, wanted["oid"])
                header = {"Authorization": "Bearer " + SECRET}
                objects.append(dict(wanted, actions={"download": {"href": href, "header": header}}))
            else:
                objects.append(dict(wanted, error={"code": 404, "message": "Object does not exist"}))
        text = json.dumps({"transfer": "basic", "objects": objects}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.git-lfs+json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
