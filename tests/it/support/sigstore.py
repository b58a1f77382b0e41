"""Sigstore's services for tests: an authority for tokens (Fulcio), a transparency log (Rekor), a log of certificates.

Usage: sigstore.py PORT DIRECTORY. DIRECTORY gets `trusted_root.json`. The file `token` in it is the one token that is taken.
A file `expired`, `unlogged` or `forged` in it makes certificates that have expired, certificates that no log knows, and
entries that another key has signed.
"""
import base64, hashlib, http.server, json, os, struct, sys, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

PORT, ROOT = int(sys.argv[1]), sys.argv[2]
P256, SHA = ec.SECP256R1(), ec.ECDSA(hashes.SHA256())
NOW = lambda: datetime.datetime.utcnow().replace(microsecond=0)
b64 = lambda data: base64.b64encode(data).decode()
der = lambda key: key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
has = lambda name: os.path.exists(os.path.join(ROOT, name))
compact = lambda value: json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
sha256 = lambda data: hashlib.sha256(data).digest()
ca_key, between_key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
ct_key, log_key, other_key = (ec.generate_private_key(P256) for _ in range(3))
name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def authority(subject, key, issuer, issuer_key, length):
    builder = x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(NOW() - datetime.timedelta(days=9)).not_valid_after(NOW() + datetime.timedelta(days=9))
    builder = builder.add_extension(x509.BasicConstraints(True, length), True)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = builder.add_extension(usage, True).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    if length == 0:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
    return builder.sign(issuer_key, hashes.SHA384())


ca = authority("root", ca_key, "root", ca_key, 1)
between = authority("between", between_key, "root", ca_key, 0)


def certificate(public, claims):
    begin = NOW() - (datetime.timedelta(hours=2) if has("expired") else datetime.timedelta(0))
    builder = x509.CertificateBuilder(name("between"), x509.Name([]), public, x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(begin + datetime.timedelta(minutes=10))
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    builder = builder.add_extension(usage, True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(between_key.public_key()), False)
    who = x509.RFC822Name(claims["email"]) if "email" in claims else x509.UniformResourceIdentifier(claims["sub"])
    builder = builder.add_extension(x509.SubjectAlternativeName([who]), True)
    issuer = claims["iss"].encode()
    extension = lambda oid, value: x509.UnrecognizedExtension(ObjectIdentifier(oid), value)
    builder = builder.add_extension(extension("1.3.6.1.4.1.57264.1.1", issuer), False)
    builder = builder.add_extension(extension("1.3.6.1.4.1.57264.1.8", bytes([12, len(issuer)]) + issuer), False)
    plain = builder.sign(between_key, hashes.SHA384())
    if has("unlogged"):
        return plain
    # RFC 6962 section 3.2.
    tbs, time = plain.tbs_certificate_bytes, int(datetime.datetime.now().timestamp() * 1000)
    signed = bytes([0, 0]) + struct.pack(">QH", time, 1) + sha256(der(between_key))
    signed += struct.pack(">I", len(tbs))[1:] + tbs + bytes([0, 0])
    signature = ct_key.sign(signed, SHA)
    one = bytes([0]) + sha256(der(ct_key)) + struct.pack(">Q", time) + bytes([0, 0, 4, 3])
    one += struct.pack(">H", len(signature)) + signature
    whole = struct.pack(">H", len(one)) + one
    whole = struct.pack(">H", len(whole)) + whole
    length = bytes([len(whole)]) if len(whole) < 128 else bytes([0x81, len(whole)])
    return builder.add_extension(extension("1.3.6.1.4.1.11129.2.4.2", bytes([4]) + length + whole), False).sign(between_key, hashes.SHA384())


def root_of(leaves):
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + root_of(leaves[:split]) + root_of(leaves[split:]))


def path_of(leaves, index):
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = leaves[:split], leaves[split:]
    return path_of(left, index) + [root_of(right)] if index < split else path_of(right, index - split) + [root_of(left)]


# As if it had begun with entries of others.
entries = [b"somebody's", b"and another's"]


def answer(index):
    body, leaves = entries[index], [sha256(b"\0" + entry) for entry in entries]
    size, root, log = len(leaves), root_of(leaves), sha256(der(log_key))
    note = f"rekor.test - 1\n{size}\n{b64(root)}\n"
    signature = log_key.sign(note.encode(), SHA)
    checkpoint = f"{note}\n\u2014 rekor.test {b64(log[:4] + signature)}\n"
    entry = {"body": b64(body), "integratedTime": int(datetime.datetime.now().timestamp()), "logID": log.hex(), "logIndex": index}
    key = other_key if has("forged") else log_key
    proof = {"checkpoint": checkpoint, "hashes": [one.hex() for one in path_of(leaves, index)], "logIndex": index,
             "rootHash": root.hex(), "treeSize": size}
    verification = {"inclusionProof": proof, "signedEntryTimestamp": b64(key.sign(compact(entry), SHA))}
    return {leaves[index].hex(): {**entry, "verification": verification}}


def public_of(pem):
    if b"CERTIFICATE" in pem:
        return x509.load_pem_x509_certificate(pem).public_key()
    return serialization.load_pem_public_key(pem)


def logged(proposed):
    """Checks what is proposed as Rekor does, and returns the entry's body."""
    spec = proposed["spec"]
    if proposed["kind"] == "hashedrekord":
        from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
        key = public_of(base64.b64decode(spec["signature"]["publicKey"]["content"]))
        digest = bytes.fromhex(spec["data"]["hash"]["value"])
        hash = {"sha384": hashes.SHA384(), "sha512": hashes.SHA512()}.get(spec["data"]["hash"]["algorithm"], hashes.SHA256())
        key.verify(base64.b64decode(spec["signature"]["content"]), digest, ec.ECDSA(Prehashed(hash)))
        return compact(proposed)
    content = spec["proposedContent"]
    envelope = json.loads(content["envelope"])
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    [signature], [verifier] = envelope["signatures"], content["verifiers"]
    message = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    public_of(base64.b64decode(verifier)).verify(base64.b64decode(signature["sig"]), message, SHA)
    digest = lambda data: {"algorithm": "sha256", "value": sha256(data).hex()}
    spec = {"envelopeHash": digest(content["envelope"].encode()), "payloadHash": digest(payload),
            "signatures": [{"signature": signature["sig"], "verifier": verifier}]}
    return compact({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def say(self, status, value, headers={}):
        data = json.dumps(value).encode()
        self.send_response(status)
        for key, text in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, text)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        token = open(os.path.join(ROOT, "token")).read()
        if self.path.startswith("/github?"):
            right = self.headers.get("Authorization") == "Bearer right" and "audience=sigstore" in self.path
            return self.say(200 if right else 401, {"value": token} if right else {"message": "no"})
        if self.path.startswith("/api/v1/log/entries/"):
            return self.say(200, answer(int(self.path.rsplit("/", 1)[1])))
        self.say(404, {})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/v2/signingCert":
            given, token = asked["credentials"]["oidcIdentityToken"], open(os.path.join(ROOT, "token")).read()
            if given != token:
                return self.say(401, {"message": "There was an error processing the identity token " + given})
            claims = given.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
            public = serialization.load_pem_public_key(asked["publicKeyRequest"]["publicKey"]["content"].encode())
            proof = base64.b64decode(asked["publicKeyRequest"]["proofOfPossession"])
            public.verify(proof, claims.get("email", claims["sub"]).encode(), SHA)
            chain = [one.public_bytes(Encoding.PEM).decode() for one in (certificate(public, claims), between, ca)]
            return self.say(201, {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}})
        if self.path == "/api/v1/log/entries":
            body = logged(asked)
            if body in entries:
                return self.say(409, {"code": 409}, {"Location": f"/api/v1/log/entries/{entries.index(body)}"})
            entries.append(body)
            return self.say(201, answer(len(entries) - 1))
        self.say(404, {})

    def log_message(self, *_):
        pass


start = (NOW() - datetime.timedelta(days=1)).isoformat() + "Z"
log = lambda key: {"baseUrl": f"http://127.0.0.1:{PORT}", "hashAlgorithm": "SHA2_256", "logId": {"keyId": b64(sha256(der(key)))},
                   "publicKey": {"rawBytes": b64(der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": {"start": start}}}
chain = [{"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in (between, ca)]
trusted = {
    "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "tlogs": [log(log_key)], "ctlogs": [log(ct_key)], "timestampAuthorities": [],
    "certificateAuthorities": [{"subject": {"organization": "test", "commonName": "test"}, "uri": f"http://127.0.0.1:{PORT}",
                                "certChain": {"certificates": chain}, "validFor": {"start": start}}],
}
write = lambda name, text: open(os.path.join(ROOT, name), "w").write(text)
write("trusted_root.json", json.dumps(trusted))
write("ca.pem", "".join(one.public_bytes(Encoding.PEM).decode() for one in (between, ca)))
write("rekor.pub", log_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())
http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
