"""Image endpoints: the catalogue."""

from service.api.blueprint import ALWAYS, Blueprint
from service.api.call import store
from service.contract.images import ImageAnswer
from service.model.documents import Image

blueprint = Blueprint("images", __name__, url_prefix="/api", description="What may be deployed.")


@blueprint.get("/images")
@blueprint.needs("images:read")
@blueprint.answers(200, ImageAnswer, *ALWAYS, many=True, description="All images.")
def list_images() -> list[Image]:
    """List the images that may be deployed. Operators add some with `skyquay images import`."""
    return store().images.all()
