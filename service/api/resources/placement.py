"""Where instances would be put."""

from service import node_ranks
from service.api.blueprint import ALWAYS, WITH_BODY
from service.api.call import is_owner, store
from service.api.context import app_context, now
from service.api.instances import blueprint
from service.contract.placement import RankingAnswer, RankNodes
from service.model.orders import PlacementWish
from service.model.placement import Ranking


def _check(wish: PlacementWish) -> None:
    any_image = app_context().config.allow_any_image
    node_ranks.check(store(), wish, allow_any_image=any_image)


@blueprint.post("/placement")
@blueprint.needs("instances:deploy")
@blueprint.arguments(RankNodes, check=_check)
@blueprint.answers(200, RankingAnswer, *WITH_BODY, *ALWAYS, description="The nodes.")
def rank_nodes(wish: PlacementWish) -> Ranking:
    """List the nodes that fit an instance, best first, and why the others do not.

    Nothing is deployed, and nothing is held. Whether there are enough free ports is looked for on
    the 20 best.
    """
    any_image = app_context().config.allow_any_image
    return node_ranks.rank_nodes(
        store(), wish, allow_any_image=any_image, for_owner=is_owner(), now=now()
    )
