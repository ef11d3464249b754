"""Secrets at rest: text that cannot be read without the secret key."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.errors import ServiceError, StoreFailure


class NoSecretKey(ServiceError):
    """There is no secret key to encrypt with."""

    status = 500
    code = "no_secret_key"


class Vault:
    """Encrypts with the first of the settings' secret keys, and decrypts with any of them."""

    def __init__(self, secret_keys: str) -> None:
        """Take comma-separated keys: the first encrypts, all decrypt."""
        fernets = [_make_fernet(key) for key in map(str.strip, secret_keys.split(",")) if key]
        self._fernet = MultiFernet(fernets) if fernets else None

    @property
    def has_key(self) -> bool:
        """Return whether there is a key at all."""
        return self._fernet is not None

    def seal(self, text: str) -> str:
        """Encrypt. Raises NoSecretKey."""
        return self._require().encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt. Raises NoSecretKey, and StoreFailure for what another key sealed."""
        try:
            return self._require().decrypt(sealed.encode()).decode()
        except InvalidToken as exc:
            raise _sealed_by_another() from exc

    def seal_anew(self, sealed: str) -> str:
        """Encrypt with the first key what any of them sealed. Raises like `open`."""
        try:
            return self._require().rotate(sealed.encode()).decode()
        except InvalidToken as exc:
            raise _sealed_by_another() from exc

    def can_open(self, sealed: str) -> bool:
        """Return whether one of the keys sealed it."""
        try:
            self.open(sealed)
        except (NoSecretKey, StoreFailure):
            return False
        return True

    def _require(self) -> MultiFernet:
        if self._fernet is None:
            raise NoSecretKey(
                "Nodes with a key or certificates need the setting SKYQUAY_SECRET_KEY."
            )
        return self._fernet


def _make_fernet(key: str) -> Fernet:
    # Whatever was set, a word or a key of Fernet's own, becomes 256 bits.
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()))


def _sealed_by_another() -> StoreFailure:
    return StoreFailure("A secret was encrypted with another SKYQUAY_SECRET_KEY.")
