"""Who owns instances."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import cast

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from service.errors import Conflict, NotFound, QuotaExceeded, UserSuspended
from service.model.documents import Amounts, User
from service.store.collection import (
    EXTERNAL_ID_INDEX,
    LABELS_INDEX,
    Collection,
    Indexes,
    Session,
    duplicate_key,
    translated,
)
from service.store.quotas import count, leaves_room, refusal
from service.store.versions import LISTED

INDEXES: Indexes = [
    {"keys": LISTED},
    {"keys": [("updated_at", 1), ("_id", 1)]},
    {"keys": [("email_key", 1)], "unique": True},
    {"keys": [("username_key", 1)], "unique": True},
    {"keys": [("aligning", 1)], "sparse": True},
    EXTERNAL_ID_INDEX,
    LABELS_INDEX,
]

_FIELD_OF_KEY = {
    "_id": "userId",
    "email_key": "email",
    "username_key": "username",
    "external_id": "externalId",
}


class Users(Collection[User]):
    """The users. E-mail addresses and names are unique in any letter case."""

    what = "user"

    @translated
    def find_by_email(self, email: str) -> User | None:
        """Read the user with this e-mail address, in any letter case."""
        return self._read({"email_key": email.casefold()})

    @translated
    def find_by_username(self, username: str) -> User | None:
        """Read the user with this name, in any letter case."""
        return self._read({"username_key": username.casefold()})

    @translated
    def list_taken(self, keys: Mapping[str, Iterable[str]]) -> list[User]:
        """Read the users that have one of these values of their unique fields, and only those."""
        wanted = [{name: {"$in": list(values)}} for name, values in keys.items()]
        return cast("list[User]", list(self._collection.find({"$or": wanted}, list(keys))))

    @translated
    def set_password_hash(
        self, user_id: str, password_hash: str, *, only_if: str | None = None, now: datetime
    ) -> None:
        """Replace the password's hash, unless it is another than `only_if` by now.

        With that the password stays: its hash is made anew.
        """
        was = {} if only_if is None else {"password_hash": only_if}
        collection = self._collection if only_if is None else self._observing
        collection.update_one(
            {"_id": user_id, **was}, {"$set": {"password_hash": password_hash, "updated_at": now}}
        )

    @translated
    def charge(
        self,
        user_id: str,
        amounts: Amounts,
        *,
        even_if_over: bool = False,
        now: datetime,
        session: Session,
    ) -> User:
        """Count what one more instance of the user's is promised; return the user as it is then.

        Raises QuotaExceeded and UserSuspended, unless it is taken `even_if_over`, and NotFound when
        the user is gone. The write is what keeps a deploy and the user's deletion from passing
        each other.
        """
        changed = self._observing.find_one_and_update(
            {"_id": user_id, **({} if even_if_over else leaves_room(amounts))},
            {"$inc": count(amounts), "$set": {"deployed_at": now}},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        if changed is None:
            raise self._find_refusal(user_id, amounts, session=session)
        return cast("User", changed)

    @translated
    def adjust(self, user_id: str, amounts: Amounts, *, session: Session) -> None:
        """Count what instances of the user's are promised more, or less. Raises QuotaExceeded.

        What becomes less is always taken back, and so is what was a user's who is gone.
        """
        if not any(amounts.values()):
            return  # so that changes of one user's instances do not conflict for nothing
        room = leaves_room(amounts)
        changed = self._observing.update_one(
            {"_id": user_id, **room}, {"$inc": count(amounts)}, session=session
        )
        if changed.matched_count == 0 and room:
            raise self._find_refusal(user_id, amounts, session=session)

    @translated
    def count_key(self, user_id: str, *, session: Session) -> None:
        """Count one more key that is limited to the user. Raises NotFound when the user is gone.

        The write keeps it and the user's deletion from passing each other. It changes the document
        each time: a write that changes nothing would be none.
        """
        noted = self._observing.update_one(
            {"_id": user_id}, {"$inc": {"keys_made": 1}}, session=session
        )
        if noted.matched_count == 0:
            raise NotFound(self.what, user_id, field="user")

    @translated
    def remove(self, user_id: str, *, session: Session) -> None:
        """Forget the user. Raises NotFound."""
        gone = self._collection.delete_one({"_id": user_id}, session=session)
        if gone == 0:
            raise NotFound(self.what, user_id, field="userId")

    def _find_refusal(
        self, user_id: str, more: Amounts, *, session: Session
    ) -> NotFound | QuotaExceeded | UserSuspended:
        user = self._collection.find_one({"_id": user_id}, session=session)
        if user is None:
            return NotFound(self.what, user_id, field="user")
        return refusal(cast("User", user), more)

    def _conflict(self, exc: DuplicateKeyError) -> Conflict:
        fields: list[str] = [_FIELD_OF_KEY[name] for name in duplicate_key(exc)]
        return Conflict(
            "This user exists already.", **{field: ["Taken already."] for field in fields}
        )
