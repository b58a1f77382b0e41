"""A token server for docker-registry: JSON web tokens signed with a key whose certificate the registry trusts.

Usage: tokens.py PORT KEY CERTIFICATE SHORT. One user has all rights; who does not say who it is may pull what is below
`public/`. The first SHORT tokens are good for some seconds only, whatever the answer says. Each grant is a line on
stdout: the user, and the scopes as they were asked for.
"""
import base64, http.server, json, subprocess, sys, time, urllib.parse

PORT, KEY, CERTIFICATE, SHORT = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
USER, PASSWORD, REFRESH = "builder", "hermit-crab-shell", "refresh-token-of-the-builder"
# The registry takes a token for a minute after its end.
LEEWAY = 60


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def chain():
    with open(CERTIFICATE) as file:
        lines = [line.strip() for line in file if "CERTIFICATE" not in line]
    return ["".join(lines)]


def signed(claims):
    parts = [{"typ": "JWT", "alg": "RS256", "x5c": chain()}, claims]
    text = ".".join(encode(json.dumps(part).encode()) for part in parts)
    command = ["openssl", "dgst", "-sha256", "-sign", KEY]
    return text + "." + encode(subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    count = 0

    def log_message(self, text, *values):
        pass

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        header = self.headers.get("Authorization")
        if header is None:
            return self.grant("nobody", query)
        good = header == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return self.grant(USER, query) if good else self.answer(401, {"errors": [{"code": "UNAUTHORIZED"}]})

    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if form["grant_type"] != ["refresh_token"] or form["refresh_token"] != [REFRESH]:
            return self.answer(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        return self.grant("refreshed", form)

    def grant(self, user, asked):
        scopes = " ".join(asked.get("scope", [])).split()
        print(user, *scopes, flush=True)
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":", 2)
            actions = actions.split(",")
            if user == "nobody":
                actions = [action for action in actions if action == "pull" and name.startswith("public/")]
            access.append({"type": kind, "name": name, "actions": actions})
        Handler.count += 1
        now = int(time.time())
        end = now - LEEWAY + 3 if Handler.count <= SHORT else now + 300
        claims = dict(iss="tests", sub=user, aud=asked["service"][0], iat=now - 300, nbf=now - 300, exp=end)
        claims.update(jti=str(Handler.count), access=access)
        self.answer(200, {"token": signed(claims), "expires_in": 300})


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
