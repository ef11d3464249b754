"""Secrets at rest: text that cannot be read without the secret key."""

import base64
import hashlib
import hmac

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.errors import NoSecretKey, StoreFailure


class Vault:
    """Encrypts with the first of the settings' secret keys, and decrypts with any of them."""

    def __init__(self, secret_keys: str) -> None:
        """Take comma-separated keys: the first encrypts, all decrypt."""
        keys = [key for key in map(str.strip, secret_keys.split(",")) if key]
        fernets = [_make_fernet(key) for key in keys]
        self._digest_keys = [hashlib.sha256(f"digests\0{key}".encode()).digest() for key in keys]
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

    def digest(self, text: bytes) -> list[str]:
        """Digest a text that may have a password, by each of the keys; the first is to be kept.

        Whoever has only the database cannot find out by it what the text was. Raises NoSecretKey.
        """
        self._require()
        return [hmac.digest(key, text, "sha256").hex() for key in self._digest_keys]

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
                "Nodes with a key or certificates, and requests with an Idempotency-Key, need the "
                "setting SKYQUAY_SECRET_KEY."
            )
        return self._fernet


def _make_fernet(key: str) -> Fernet:
    # Whatever was set, a word or a key of Fernet's own, becomes 256 bits.
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()))


def _sealed_by_another() -> StoreFailure:
    return StoreFailure("A secret was encrypted with another SKYQUAY_SECRET_KEY.")
