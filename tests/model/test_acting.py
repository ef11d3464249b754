"""What a key may do on behalf of a user: the proof over all scopes, limits and roles."""

import itertools

import pytest

from service.model.access import ACT, GRANTS, SCOPES, Access, expand

LIMITS = [
    {},
    {"user_id": "ada"},
    {"instance_ids": frozenset({"i1"})},
    {"node_ids": frozenset({"n1"})},
    {"user_id": "ada", "instance_ids": frozenset({"i1"})},
    {"user_id": "ada", "node_ids": frozenset({"n1"})},
    {"instance_ids": frozenset({"i1"}), "node_ids": frozenset({"n1"})},
]
KEYS = [
    Access(scopes=expand(grants), **limits)
    for limits in LIMITS
    for grants in itertools.combinations_with_replacement(GRANTS, 2)
]
"""A key with each one and each two of all grants, in each way to limit it."""

EVERYTHING = frozenset(SCOPES)


def list_pairs():
    """List each key with each user for whom it may act."""
    return [(key, user) for key in KEYS for user in ("ada", "bob") if key.may_act_for(user)]


def test_who_may_act_for_whom():
    """
    It takes the scope, and a user whom the limits leave: of instances and nodes no user is a part.
    """
    for key, user_id in itertools.product(KEYS, ("ada", "bob")):
        sees = key.user_id == user_id or not key.is_limited

        assert key.may_act_for(user_id) == (ACT in key.scopes and sees)


def test_acting_for_a_plain_user_is_the_intersection():
    """
    Each scope is had where both the key has it, and a key with all scopes limited to the user.
    """
    for key, user_id in list_pairs():
        owner = Access(scopes=EVERYTHING, user_id=user_id)

        both = key.acting_for(user_id, is_admin=False)

        for scope in SCOPES:
            assert both.may(scope) == (key.may(scope) and owner.may(scope) and scope != ACT)
        assert (user_id, key.instance_ids, key.node_ids) == (
            both.user_id, both.instance_ids, both.node_ids
        )  # fmt: skip
        assert owner.covers(both)


def test_acting_for_an_administrator_is_what_the_key_may():
    """
    But for acting for somebody else.
    """
    for key, user_id in list_pairs():
        both = key.acting_for(user_id, is_admin=True)

        assert key.allowed - {ACT} == both.allowed
        assert (key.user_id, key.instance_ids, key.node_ids) == (
            both.user_id, both.instance_ids, both.node_ids
        )  # fmt: skip


@pytest.mark.parametrize("is_admin", [False, True])
def test_nobody_gains_anything_by_acting(is_admin):
    """
    Neither a right that the key has not, nor one to act for yet another user; nor a key with more.
    """
    for key, user_id in list_pairs():
        both = key.acting_for(user_id, is_admin=is_admin)

        assert key.covers(both)
        assert not both.covers(key)
        assert not any(both.may_act_for(other) for other in ("ada", "bob"))


def test_nobody_gains_anything_without_the_scope_either():
    """
    Also where the function is asked without its condition, nothing is gained.
    """
    for key, user_id in itertools.product(KEYS, ("ada", "bob")):
        if key.user_id in (None, user_id):
            assert key.covers(key.acting_for(user_id, is_admin=False))
