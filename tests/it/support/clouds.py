"""The clouds and their registries, for tests: a proxy behind which every host is this program, so that real URLs are asked.

Usage: clouds.py PORT DIRECTORY CERTIFICATE KEY PUBLIC. DIRECTORY holds the objects; PUBLIC is the key of Google's service
account. The file `upstream` in DIRECTORY holds the address of what the registries serve, `kms-upstream` that of Amazon's KMS. Each request is a line on stdout. Everything wants the one token, but for what gives it.
"""
import base64, http.client, http.server, json, os, re, ssl, subprocess, sys, tempfile, urllib.parse

PORT, ROOT, CERTIFICATE, KEY, PUBLIC = int(sys.argv[1]), *sys.argv[2:6]
TOKEN, POD = "hermit-crab-shell", "token-of-the-pod"
SERVICES = [("storage", "com"), ("containerregistry", "net"), ("vault", "net")]
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
TLS.load_cert_chain(CERTIFICATE, KEY)
AWS = dict(AccessKeyId="AK", SecretAccessKey="SK", Token="session", Expiration="2099-01-01T00:00:00Z")
STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AK</AccessKeyId><SecretAccessKey>SK</SecretAccessKey>
<SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


def signed_by_google(jwt):
    """Checks what a service account signs for itself."""
    try:
        head, claims, signature = jwt.split(".")
        decode = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if "devstorage" not in json.loads(decode(claims)).get("scope", "") and "cloud-platform" not in str(decode(claims)):
            return False
        with tempfile.NamedTemporaryFile() as file:
            file.write(decode(signature))
            file.flush()
            command = ["openssl", "dgst", "-sha256", "-verify", PUBLIC, "-signature", file.name]
            return subprocess.run(command, input=(head + "." + claims).encode(), capture_output=True).returncode == 0
    except ValueError:
        return False


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host = ""

    def log_message(self, text, *values):
        pass

    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        inner = Inside(self.path.split(":")[0])
        try:
            with TLS.wrap_socket(self.connection, server_side=True) as stream:
                inner(stream, self.client_address, self.server)
        except OSError:
            pass
        self.close_connection = True

    def answer(self, status, body=b"", kind="application/json", **headers):
        body = json.dumps(body).encode() if isinstance(body, dict) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        host = self.host or url.hostname or "local"
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length) if length else b""
        if url.path.startswith("/v2/"):
            print(self.command, host, url.path, flush=True)
            return self.registry(host, data)
        if host.startswith("kms."):
            print(self.command, host, url.path, flush=True)
            return self.forward("kms-upstream", host, data, ("connection", "host"))
        text = data.decode(errors="replace")
        if text.startswith("{"):
            form = json.loads(text)
        else:
            form = {name: values[0] for name, values in urllib.parse.parse_qs(text).items()}
        print(self.command, host, url.path, flush=True)
        status, body = self.route(host, url, form, dict(urllib.parse.parse_qsl(url.query)))
        kind = "text/xml" if "amazonaws" in host else "application/json"
        self.answer(status, body, kind, X_aws_ec2_metadata_token_ttl_seconds="600")

    do_GET = do_POST = do_PUT = do_HEAD = do_PATCH = do_DELETE = serve

    def registry(self, host, data):
        """Lets those in that a cloud knows, and hands the rest on to a real registry."""
        header = self.headers.get("Authorization") or ""
        basic = lambda user: header == "Basic " + base64.b64encode(f"{user}:{TOKEN}".encode()).decode()
        amazon = host.endswith(".amazonaws.com")
        good = basic("AWS") if amazon else header == "Bearer " + TOKEN
        if host == "public.ecr.aws" and header == "Bearer nobody":
            good = self.command in ("GET", "HEAD")
        if self.path.startswith("/v2/token"):
            try:
                user, _, key = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
                good = user == "_json_key" and "BEGIN PRIVATE KEY" in json.loads(key)["private_key"]
            except ValueError:
                good = False
            return self.answer(200, {"token": TOKEN}) if good or basic("oauth2accesstoken") else self.answer(401, {})
        if not good:
            realm = {"dev": "/v2/token", "aws": "/token/"}.get(host.rpartition(".")[2], "/oauth2/token")
            challenge = 'Basic realm="r"' if amazon else f'Bearer realm="https://{host}{realm}",service="{host}"'
            return self.answer(401, {}, WWW_Authenticate=challenge)
        self.forward("upstream", host, data, ("authorization", "connection", "host"))

    def forward(self, name, host, data, drop):
        """Hands a request on to the address that a file holds."""
        with open(os.path.join(ROOT, name)) as file:
            upstream = http.client.HTTPConnection(file.read())
        headers = {name: value for name, value in self.headers.items() if name.lower() not in drop}
        upstream.request(self.command, self.path, data, dict(headers, Host=host, **{"X-Forwarded-Proto": "https"}))
        answer = upstream.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "date"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def route(self, host, url, form, query):
        header, path = self.headers.get, url.path
        granted = dict(access_token=TOKEN, token_type="Bearer", expires_in=3600)
        granted["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token"
        if host == "sts.us-east-1.amazonaws.com":
            good = form.get("Action") == "AssumeRoleWithWebIdentity" and form.get("WebIdentityToken") == POD
            return (200, STS.encode()) if good else (403, b"<ErrorResponse/>")
        if path.startswith("/broken/"):
            return 418, TOKEN.encode()
        if path == "/pod":
            return (200, AWS) if header("Authorization") == POD else (401, {})
        if path == "/latest/api/token":
            return (200, b"session-of-imds") if self.command == "PUT" else (405, {})
        if path.startswith("/latest/meta-data/"):
            if header("X-aws-ec2-metadata-token") != "session-of-imds":
                return 401, {}
            name = path.rpartition("security-credentials/")[2]
            return 200, (dict(AWS, Code="Success", Type="AWS-HMAC") if name else b"role")
        if path.startswith("/computeMetadata/v1/"):
            good = header("Metadata-Flavor") == "Google"
            return (200, granted if path.endswith("/token") else b"googleapis.com") if good else (403, {})
        if host == "sts.googleapis.com":
            subject = form.get("subject_token") or form.get("subjectToken")
            return (200, granted) if subject == POD else (400, {"error": "invalid_grant"})
        if host == "oauth2.googleapis.com":
            return (200, granted) if form.get("refresh_token") == POD else (400, {"error": "invalid_grant"})
        if host in ("api.ecr.us-east-1.amazonaws.com", "api.ecr-public.us-east-1.amazonaws.com"):
            return self.ecr("ecr-public" if "public" in host else "ecr")
        if host == "public.ecr.aws" and path == "/token/":
            if header("Authorization") is None:
                return 200, {"token": "nobody"}
            password = base64.b64encode(f"AWS:{TOKEN}".encode()).decode()
            return (200, {"token": TOKEN}) if header("Authorization") == "Basic " + password else (401, {})
        if host.endswith(".azurecr.io") and path == "/oauth2/exchange":
            good = form.get("service") == host and form.get("grant_type") == "access_token"
            good = good and form.get("access_token") == TOKEN
            return (200, {"refresh_token": POD}) if good else (401, {})
        if host.endswith(".azurecr.io") and path == "/oauth2/token":
            good = form.get("service") == host and form.get("refresh_token") == POD
            return (200, {"access_token": TOKEN}) if good and "scope" in form else (401, {})
        if host == "login.microsoftonline.com":
            good = path == "/tenant/oauth2/v2.0/token" and form.get("client_id") == "client"
            good = good and POD in (form.get("client_assertion"), form.get("client_secret"))
            good = good and form.get("scope") in (f"https://{name}.azure.{end}/.default" for name, end in SERVICES)
            return (200, granted) if good else (401, {"error": "invalid_client"})
        if path == "/metadata/identity/oauth2/token":
            good = header("Metadata") == "true" and query.get("resource") in (f"https://{name}.azure.{end}" for name, end in SERVICES)
            return (200, dict(granted, expires_in="3600")) if good else (400, {})
        if host == "cloudkms.googleapis.com" or host.endswith(".vault.azure.net"):
            import kms
            answer = kms.google if host.startswith("cloudkms") else kms.azure
            return answer(self.command, path, query, form, self.headers, ROOT)
        return self.store(host, path, query)

    def ecr(self, service):
        """Gives a password to who signs with the keys that the other services give."""
        header = self.headers.get("Authorization") or ""
        match = re.match(r"AWS4-HMAC-SHA256 Credential=(\w+)/\d{8}/us-east-1/([a-z-]+)/aws4_request, SignedHeaders=", header)
        if not match or match[2] != service or not self.headers.get("X-Amz-Target", "").endswith(".GetAuthorizationToken"):
            return 403, {"__type": "InvalidSignatureException", "message": "what is that?"}
        if match[1] == "EXPIRED":
            return 403, {"__type": "ExpiredTokenException", "message": "The security token included in the request is expired"}
        if match[1] != "AK" or self.headers.get("X-Amz-Security-Token") not in (None, "session"):
            return 403, {"__type": "UnrecognizedClientException", "message": "who is that?"}
        password = dict(authorizationToken=base64.b64encode(f"AWS:{TOKEN}".encode()).decode(), expiresAt=4070908800.5)
        return 200, {"authorizationData": password if service == "ecr-public" else [password]}

    def store(self, host, path, query):
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        is_public = "o/public" in path
        if token != TOKEN and not is_public and not (host == "storage.googleapis.com" and signed_by_google(token)):
            return 401, {"error": "who are you?"}
        if host == "storage.googleapis.com" and query.get("alt") == "media":
            name = urllib.parse.unquote(re.fullmatch(r"/storage/v1/b/bucket/o/([^/]+)", path)[1])
        elif host == "account.blob.core.windows.net" and self.headers.get("x-ms-version"):
            name = path.removeprefix("/box/")
        else:
            return 404, {}
        try:
            with open(os.path.join(ROOT, name), "rb") as file:
                return 200, file.read()
        except OSError:
            return 404, {}


def Inside(name):
    return type("Inside", (Handler,), {"host": name})


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
