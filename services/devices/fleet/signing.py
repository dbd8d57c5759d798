"""Signs manifests of updates with Ed25519 (RFC 8032). The key is in a file; without one there are no updates.

The signature is over the payload's bytes as they are sent, so that nobody has to agree on how JSON is written.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from services.chassis.errors import SettingsError

ALGORITHM = "Ed25519"


class Signer:
    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public_key = encode(raw)
        self.key_id = hashlib.sha256(raw).hexdigest()[:16]

    @classmethod
    def load(cls, path: Path) -> Signer:
        """A PEM file, as `openssl genpkey -algorithm ed25519` writes it. Raises: SettingsError."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SettingsError(f"DEVICES_OTA_KEY_FILE {path}: {error}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError(f"DEVICES_OTA_KEY_FILE {path} is no Ed25519 key: openssl genpkey -algorithm ed25519")
        return cls(key)

    def sign(self, payload: bytes) -> tuple[str, str]:
        """Payload and signature, as they are sent."""
        return encode(payload), encode(self._key.sign(payload))


def encode(raw: bytes) -> str:
    """URL-safe base64 without padding (RFC 4648 §5)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
