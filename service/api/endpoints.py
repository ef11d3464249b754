"""Every endpoint: the blueprints, and the table of their policies."""

from service.api import (
    audit,
    enrolment,
    events,
    health,
    home,
    images,
    instances,
    keys,
    nodes,
    operations,
    stats,
    users,
)
from service.api.policy import EndpointPolicy
from service.api.resources import (
    bulk,
    drains,
    instance_changes,
    instance_logs,
    instance_programs,
    instance_restores,
    me,
)
from service.api.resources import images as image_resources
from service.api.resources import instances as instance_resources
from service.api.resources import keys as key_resources
from service.api.resources import nodes as node_resources
from service.api.resources import placement as placement_resources
from service.api.resources import transfers as transfer_resources
from service.api.resources import usage as usage_resources
from service.api.resources import users as user_resources
from service.api.resources import webhooks as webhook_resources

BLUEPRINTS = (
    home.blueprint,
    users.blueprint,
    instances.blueprint,
    images.blueprint,
    nodes.blueprint,
    enrolment.blueprint,
    operations.blueprint,
    keys.blueprint,
    audit.blueprint,
    events.blueprint,
    stats.blueprint,
    webhook_resources.blueprint,
    health.blueprint,
)

RESOURCES = (
    user_resources,
    usage_resources,
    image_resources,
    instance_resources,
    instance_changes,
    instance_logs,
    instance_programs,
    instance_restores,
    transfer_resources,
    key_resources,
    node_resources,
    placement_resources,
    drains,
    bulk,
    me,
)
"""The modules that add endpoints beyond the reference to these blueprints."""

POLICIES: dict[str, EndpointPolicy] = {
    # Those that are not in the OpenAPI document.
    "api-docs.openapi_json": EndpointPolicy(needs_key=False, needs_database=False),
    "console.show": EndpointPolicy(needs_key=False, needs_database=False),
    "errors.show": EndpointPolicy(needs_key=False, needs_database=False),
    "swagger_ui.show": EndpointPolicy(needs_key=False, needs_database=False),
    "metrics.show": EndpointPolicy("metrics:read", needs_database=False, for_monitoring=True),
}
for blueprint in BLUEPRINTS:
    POLICIES.update(blueprint.policies)
