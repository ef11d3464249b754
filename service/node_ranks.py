"""Which nodes an instance would fit, with nothing deployed."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from service import images
from service.model.documents import Image, Node
from service.model.orders import PlacementWish
from service.model.placement import Fit, Ranking, Unfit
from service.model.wrong_fields import WrongFields
from service.order_checks import check_image
from service.placement import find_beside, rank, settle_on, suits_all, wish_for
from service.store import Store
from service.store.collection import Session

MOST_SEARCHED = 20
"""On how many of the nodes that fit, from the best on, free ports are really looked for."""


def rank_nodes(
    store: Store,
    wish: PlacementWish,
    *,
    allow_any_image: bool = False,
    for_owner: bool = False,
    now: datetime,
) -> Ranking:
    """Rank the nodes as a deploy of this would, at one moment. Raises like `check`.

    An owner is told no scores: they count the instances of everybody.
    """
    image = check(store, wish, allow_any_image=allow_any_image)
    suits = suits_all if image is None else partial(check_image, image=image)
    found = store.transaction(
        lambda session: _rank(store, wish, image, suits, now=now, session=session)
    )
    return Ranking([fit._replace(tells_score=not for_owner) for fit in found.fits], found.unfit)


def check(store: Store, wish: PlacementWish, *, allow_any_image: bool = False) -> Image | None:
    """Find the image. The wish may be WellFormed.

    Raises one InvalidInput for all that is wrong: NotFound for an unknown user or image.
    """
    wrong = WrongFields()
    image: Image | None = None
    with wrong.noting():
        user_id = wish["user_id"]
        if user_id is not None:
            store.users.get(user_id, field="user")
    with wrong.noting():
        reference = wish["image"]
        if reference is not None:
            matching = store.images.list_matching(reference)
            image = images.choose(matching, reference, None, allow_any_image=allow_any_image)
    wrong.raise_any()
    return image


def _rank(
    store: Store,
    wish: PlacementWish,
    image: Image | None,
    suits: Callable[[Node], None],
    *,
    now: datetime,
    session: Session,
) -> Ranking:
    found = rank(
        store,
        wish_for(wish, wish["ports"]),
        apart_from=find_beside(wish, wish["user_id"], image),
        check=suits,
        session=session,
    )
    fits: list[Fit] = []
    full: list[Unfit] = []
    for fit in found.fits[:MOST_SEARCHED]:
        ports = settle_on(store, fit, wish["ports"], now=now, session=session)
        if isinstance(ports, Unfit):
            full.append(ports)
        else:
            fits.append(fit)
    return Ranking(fits + found.fits[MOST_SEARCHED:], found.unfit + full)
