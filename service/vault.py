"""Secrets at rest: text that only who has the secret key can read."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken

from service.errors import ServiceError, StoreFailure


class NoSecretKey(ServiceError):
    """There is no secret key, so nothing can be kept secret."""

    status = 500
    code = "no_secret_key"


class Vault:
    """Encrypts with the settings' secret key."""

    def __init__(self, secret_key: str) -> None:
        # Whatever was set, a word or a key of Fernet's own, becomes 256 bits.
        digest = hashlib.sha256(secret_key.encode()).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(digest)) if secret_key else None

    def seal(self, text: str) -> str:
        """Encrypt. Raises NoSecretKey."""
        return self._require().encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt. Raises NoSecretKey, and StoreFailure for what another key sealed."""
        try:
            return self._require().decrypt(sealed.encode()).decode()
        except InvalidToken as exc:
            raise StoreFailure("A secret was encrypted with another SKYQUAY_SECRET_KEY.") from exc

    def _require(self) -> Fernet:
        if self._fernet is None:
            raise NoSecretKey(
                "Nodes with a key or certificates need the setting SKYQUAY_SECRET_KEY."
            )
        return self._fernet
