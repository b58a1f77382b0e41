"""The KMSes of Google and Azure, for tests: they check what they are asked, and sign it. Part of clouds.py.

The name of a key says what it is: `p256`, `rsa-2048`, `pss-4096-sha512` …; some have a fault instead. The public half of each
that was asked for is in the directory `kms`, as NAME.pub.
"""
import base64, json, os, re
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

KEYS, ASKED = {}, {}
HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
CURVES = {"p256": (ec.SECP256R1(), "sha256", "P-256"), "p384": (ec.SECP384R1(), "sha384", "P-384"), "p521": (ec.SECP521R1(), "sha512", "P-521")}
TOKEN = "Bearer hermit-crab-shell"
RING = "projects/team/locations/europe-west1/keyRings/release/cryptoKeys/"


def key(name, root):
    """Returns a key, which is made when it is asked for first."""
    if name not in KEYS:
        size = re.search(r"-(\d{4})", name)
        curve = CURVES.get(name.split("-")[0], CURVES["p256"])[0]
        KEYS[name] = rsa.generate_private_key(65537, int(size[1])) if size else ec.generate_private_key(curve)
        os.makedirs(os.path.join(root, "kms"), exist_ok=True)
        with open(os.path.join(root, "kms", name + ".pub"), "wb") as file:
            file.write(pem(KEYS[name]))
    return KEYS[name]


def pem(private):
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(*form)


def sign(private, digest, hash, pss=False):
    prehashed = utils.Prehashed(HASHES[hash])
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(digest, ec.ECDSA(prehashed))
    pad = padding.PSS(padding.MGF1(HASHES[hash]), padding.PSS.DIGEST_LENGTH) if pss else padding.PKCS1v15()
    return private.sign(digest, pad, prehashed)


def crc32c(data):
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    total = 0xFFFFFFFF
    for byte in data:
        total = total >> 8 ^ table[(total ^ byte) & 255]
    return total ^ 0xFFFFFFFF


def first(what):
    """Tells whether this is asked for the first time."""
    ASKED[what] = ASKED.get(what, 0) + 1
    return ASKED[what] == 1


def google(method, path, query, body, headers, root):
    refuse = lambda code, status, message, **more: (code, {"error": dict(more, code=code, status=status, message=message)})
    if headers.get("Authorization") != TOKEN:
        return refuse(401, "UNAUTHENTICATED", f"Request had invalid authentication credentials: {headers.get('Authorization')}")
    match = re.fullmatch(r"/v1/(projects/.*/cryptoKeys/)([^/]+)/cryptoKeyVersions(?:/(\d+)(/publicKey|:asymmetricSign))?", path)
    if not match or match[1] != RING or match[2] == "missing":
        return refuse(404, "NOT_FOUND", "CryptoKey not found.")
    name, version, action = match[2], match[3], match[4]
    full = RING + name + "/cryptoKeyVersions/"
    if name == "forbidden" or (name == "only-read" and action == ":asymmetricSign"):
        right = "useToSign" if action == ":asymmetricSign" else "viewPublicKey"
        return refuse(403, "PERMISSION_DENIED", f"Permission 'cloudkms.cryptoKeyVersions.{right}' denied on resource '{full}1' (or it may not exist).")
    if name == "paid" and headers.get("x-goog-user-project") != "team":
        return refuse(403, "PERMISSION_DENIED", "The cloudkms.googleapis.com API requires a quota project, which is not set by default.")
    if version is None:
        if method != "GET" or query.get("filter") != "state=ENABLED":
            return refuse(400, "INVALID_ARGUMENT", "what is that?")
        # Two pages; as text the ninth would come after the tenth.
        numbers = [] if name == "none-enabled" else ["9", "10"] if query.get("pageToken") == "more" else ["2"]
        page = {"cryptoKeyVersions": [{"name": full + number, "state": "ENABLED"} for number in numbers], "totalSize": 3}
        return 200, page if query.get("pageToken") or not numbers else dict(page, nextPageToken="more")
    if name == "disabled":
        return refuse(400, "FAILED_PRECONDITION", f"{full}1 is not enabled, current state is: DISABLED.")
    if name == "symmetric":
        return refuse(400, "INVALID_ARGUMENT", f"{full}1 has purpose ENCRYPT_DECRYPT, which has no public key.")
    if name == "busy" and first(action):
        return refuse(429, "RESOURCE_EXHAUSTED", "Quota exceeded.")
    private = key(name, root)
    hash = name.rsplit("-", 1)[-1] if "-sha" in name else CURVES.get(name, (0, "sha256"))[1]
    if action == "/publicKey":
        kind = "RSA_SIGN_PSS" if "pss" in name else "RSA_SIGN_PKCS1"
        size = re.search(r"-(\d{4})", name)
        algorithm = f"{kind}_{size[1]}_{hash.upper()}" if size else f"EC_SIGN_{name.upper()}_{hash.upper()}"
        algorithm = {"ed25519": "EC_SIGN_ED25519", "decrypt-2048": "RSA_DECRYPT_OAEP_2048_SHA256"}.get(name, algorithm)
        algorithm = algorithm if name in CURVES or size or name == "ed25519" else "EC_SIGN_P256_SHA256"
        text = pem(private).decode()
        return 200, {"pem": text, "algorithm": algorithm, "pemCrc32c": str(crc32c(text.encode())), "name": full + version, "protectionLevel": "HSM"}
    digest = base64.b64decode(body["digest"][hash])
    good = method == "POST" and list(body["digest"]) == [hash] and body.get("digestCrc32c") == str(crc32c(digest))
    if not good or len(digest) != HASHES[hash].digest_size:
        return refuse(400, "INVALID_ARGUMENT", "The digest is not that of the algorithm, or was damaged.")
    signature = sign(key("another", root) if name == "exchanged" else private, digest, hash, "pss" in name)
    total = crc32c(signature) ^ (1 if name == "damaged" and first(name) else 0)
    return 200, {"signature": base64.b64encode(signature).decode(), "signatureCrc32c": str(total), "verifiedDigestCrc32c": not (name == "unchecked" and first(name)), "name": full + version}


def azure(method, path, query, body, headers, root):
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    number = lambda value: encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))
    refuse = lambda status, code, message, inner=None: (status, {"error": dict({"code": code, "message": message}, **({"innererror": {"code": inner}} if inner else {}))})
    if headers.get("Authorization") != TOKEN:
        return refuse(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
    match = re.fullmatch(r"/keys/([^/]+)(?:/([0-9a-f]+))?(/sign)?", path)
    if not match or query.get("api-version") != "7.4" or match[1] == "missing":
        return refuse(404, "KeyNotFound", "A key with (name/id) missing was not found in this key vault.")
    name, version, signs = match.groups()
    if name == "forbidden" or (name == "only-read" and signs):
        return refuse(403, "Forbidden", "The user, group or application 'appid=client' does not have keys permission on key vault 'team'.", "ForbiddenByPolicy")
    private, is_rsa = key(name, root), "-" in name and name[-4:].isdigit()
    if not signs:
        public = private.public_key().public_numbers()
        kid = f"https://team.vault.azure.net/keys/{name}/{version or '0a1b'}"
        operations = ["encrypt", "wrapKey"] if name == "wrap" else ["sign", "verify"]
        jwk = dict(kty="RSA-HSM", n=number(public.n), e=number(public.e)) if is_rsa else dict(kty="EC", crv=CURVES.get(name, CURVES["p256"])[2], x=number(public.x), y=number(public.y))
        jwk = {"kty": "EC", "crv": "P-256K", "x": "AQ", "y": "AQ"} if name == "bitcoin" else jwk
        return 200, {"key": dict(jwk, kid=kid, key_ops=operations), "attributes": {"enabled": name != "disabled", "recoveryLevel": "Recoverable"}}
    if name == "expired":
        return refuse(403, "Forbidden", "Operation sign is not allowed on an expired key.", "KeyExpired")
    hash = {"ES256": "sha256", "ES384": "sha384", "ES512": "sha512", "RS256": "sha256"}.get(body.get("alg"))
    digest = base64.urlsafe_b64decode(body["value"] + "==")
    good = method == "POST" and version == "0a1b" and hash and len(digest) == HASHES[hash].digest_size
    if not good or "=" in body["value"] or hash != ("sha256" if is_rsa else CURVES.get(name, CURVES["p256"])[1]):
        return refuse(400, "BadParameter", "Key and signing algorithm are incompatible.")
    signature = sign(private, digest, hash)
    if not is_rsa:
        size = (private.curve.key_size + 7) // 8
        signature = b"".join(part.to_bytes(size, "big") for part in utils.decode_dss_signature(signature))
    return 200, {"kid": f"https://team.vault.azure.net/keys/{name}/{version}", "value": encode(signature)}
