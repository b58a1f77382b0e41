"""moto's server, with what its KMS leaves out: digests are signed as they are, keys that are disabled do nothing, symmetric ones
have no public half, and who may not is told so in JSON. Usage: moto_kms.py -H HOST -p PORT.
"""
import sys
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.core.exceptions import JsonRESTError
from moto.iam import access_control
from moto.kms import utils
from moto.kms.responses import KmsResponse
from moto.server import main


def sign_rsa(self, digest, algorithm):
    pad, hash = self._RSAPrivateKey__padding_and_hash_algorithm(algorithm)
    return self.private_key.sign(digest, pad, Prehashed(hash))


def sign_ecdsa(self, digest, algorithm):
    utils.validate_signing_algorithm(algorithm, self.valid_signing_algorithms)
    return self.private_key.sign(digest, ec.ECDSA(Prehashed(self._ECDSAPrivateKey__hash_algorithm(algorithm))))


def checked(action, is_sign):
    def answer(self):
        self._validate_key_id(self._get_param("KeyId"))
        key = self.kms_backend.describe_key(self._get_param("KeyId"))
        if not key.enabled:
            raise JsonRESTError("DisabledException", f"{key.arn} is disabled.")
        if key.key_spec == "SYMMETRIC_DEFAULT":
            raise JsonRESTError("UnsupportedOperationException", "")
        if is_sign and self._get_param("MessageType") != "DIGEST":
            raise JsonRESTError("ValidationException", "a digest is wanted")
        return action(self)

    return answer


def denied(user_arn, action):
    return JsonRESTError("AccessDeniedException", f"User: {user_arn} is not authorized to perform: {action}")


def other_signature():
    # AWS quotes what it has signed itself, with the headers of the request.
    text = "The request signature we calculated does not match. The Canonical String should have been 'x-amz-security-token:session"
    return JsonRESTError("InvalidSignatureException", text)


def other_key():
    return JsonRESTError("UnrecognizedClientException", "The security token included in the request is invalid.")


access_control.AccessDeniedError = denied
access_control.SignatureDoesNotMatchError = other_signature
access_control.InvalidClientTokenIdError = other_key
utils.RSAPrivateKey.sign, utils.ECDSAPrivateKey.sign = sign_rsa, sign_ecdsa
KmsResponse.sign = checked(KmsResponse.sign, True)
KmsResponse.get_public_key = checked(KmsResponse.get_public_key, False)
main(sys.argv[1:])
