"""The stats endpoint: what instances used lately, for charts and lists."""

from typing import cast

from service import listings, stats
from service.api import pages
from service.api.blueprint import ALWAYS, Blueprint
from service.api.call import store
from service.api.context import now
from service.contract.stats import (
    MeasuredInstance,
    Series,
    SkippedNode,
    StatsPage,
    StatsPageAnswer,
    StatsQuery,
)
from service.model.orders import StatsSearch

blueprint = Blueprint(
    "stats", __name__, url_prefix="/api/stats", description="What instances used in the last hour."
)


@blueprint.get("")
@blueprint.needs("instances:read")
@blueprint.arguments(StatsQuery, location="query")
@blueprint.answers(200, StatsPageAnswer, 400, *ALWAYS, description="What they used.")
def list_stats(search: StatsSearch) -> StatsPage:
    """List what instances used in the last hour: a chart of each with one request.

    Workers sample each instance every 15 s, and longer with more instances than they can ask for:
    `intervalSeconds` says how often. 400 for more than 50,000 points: ask for fewer instances at a
    time, or for longer steps.
    """
    moment = now()
    grid = None if search["latest"] else stats.make_grid(search, now=moment)
    listing = pages.open_cursor(listings.find_references(store(), search["listing"]))
    found, last = stats.list_instances(store(), listing)
    sampled = stats.find_sampled(store(), found)
    series = grid and stats.list_series(store(), [each["_id"] for each in found], grid)
    measured = [
        MeasuredInstance(
            instance=each,
            usage=sampled.last.get(each["_id"]),
            series=cast("Series | None", series and series[each["_id"]]),
        )
        for each in found
    ]
    return StatsPage(
        now=moment,
        interval_s=sampled.interval_s,
        resolution_s=grid and grid.step_s,
        times=grid.list_times() if grid else [],
        instances=measured,
        skipped=[SkippedNode(node_id=n, reason=why) for n, why in sampled.skipped.items()],
        cursor=None if last is None else pages.make_cursor(listing, last),
    )
