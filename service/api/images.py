"""Image endpoints: the catalogue."""

from flask import Response

from service.api import lists
from service.api.blueprint import ALWAYS, Blueprint
from service.api.call import store
from service.contract.images import ImageAnswer
from service.contract.list_queries import ImagesQuery
from service.model.listing import Listing

blueprint = Blueprint("images", __name__, url_prefix="/api", description="What may be deployed.")


@blueprint.get("/images")
@blueprint.needs("images:read")
@blueprint.arguments(ImagesQuery, location="query")
@blueprint.answers(200, ImageAnswer, 400, *ALWAYS, many=True, etag=True, description="All images.")
def list_images(listing: Listing) -> Response:
    """List the images that may be deployed. Operators add some with `skyquay images import`."""
    return lists.answer(ImageAnswer, store().images, listing)
