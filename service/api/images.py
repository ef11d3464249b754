"""Image endpoints: the catalogue."""

from service.api.blueprint import ALWAYS, Blueprint
from service.api.call import store
from service.contract import examples, wire
from service.contract.images import ImageAnswer

blueprint = Blueprint("images", __name__, url_prefix="/api", description="What may be deployed.")


@blueprint.get("/images")
@blueprint.needs("images:read")
@blueprint.answers(
    200, ImageAnswer(many=True), *ALWAYS, example=[examples.IMAGE], description="All images."
)
def list_images() -> list[wire.Json]:
    """List the images that may be deployed. Operators add some with `skyquay images import`."""
    return [wire.image(image) for image in store().images.all()]
