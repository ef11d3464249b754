"""The table of endpoints: who may use each, and what it changes."""

import pytest

from service.api.blueprint import Blueprint
from service.api.endpoints import POLICIES
from service.app import create_app
from service.config import Config

# (scope, or why none is asked for; kind of what is changed; field of the body that names it)
TABLE = {
    "home.get_home": ("open", None, None),
    "home.get_name": ("any key", None, None),
    "home.get_me": ("any key", None, None),
    "home.get_own_usage": ("users:read", None, None),
    "users.list_users": ("users:read", None, None),
    "users.look_up_user": ("users:read", None, None),
    "users.create_user": ("users:write", "user", "userId"),
    "users.add_user": ("users:write", "user", "userId"),
    "users.get_user": ("users:read", None, None),
    "users.get_user_usage": ("users:read", None, None),
    "users.suspend_user": ("users:write", "user", None),
    "users.unsuspend_user": ("users:write", "user", None),
    "users.edit_user": ("users:write", "user", None),
    "users.remove_user": ("users:write", "user", None),
    "users.verify_password": ("users:verify", None, None),
    "instances.list_instances": ("instances:read", None, None),
    "instances.look_up_instance": ("instances:read", None, None),
    "instances.list_user_instances": ("instances:read", None, None),
    "instances.deploy_instance": ("instances:deploy", "instance", None),
    "instances.rank_nodes": ("instances:deploy", None, None),
    "instances.add_instance": ("instances:deploy", "instance", None),
    "instances.get_instance": ("instances:read", None, None),
    "instances.remove_instance": ("instances:write", "instance", None),
    "instances.delete_instance": ("instances:write", "instance", "id"),
    "instances.suspend_instance": ("instances:write", "instance", None),
    "instances.unsuspend_instance": ("instances:write", "instance", None),
    "instances.start_instance": ("instances:write", "instance", None),
    "instances.stop_instance": ("instances:write", "instance", None),
    "instances.restart_instance": ("instances:write", "instance", None),
    "instances.kill_instance": ("instances:write", "instance", None),
    "instances.get_instance_logs": ("instances:read", None, None),
    "instances.send_instance_command": ("instances:write", "instance", None),
    "instances.get_instance_stats": ("instances:read", None, None),
    "instances.edit_instance": ("instances:deploy", "instance", None),
    "instances.reinstall_instance": ("instances:write", "instance", None),
    "instances.restore_instance": ("instances:write", "instance", None),
    "instances.transfer_instance": ("nodes:write", "instance", None),
    "images.list_images": ("images:read", None, None),
    "images.create_image": ("images:write", "image", None),
    "images.import_image": ("images:write", "image", "Name"),
    "images.export_image": ("images:read", None, None),
    "images.replace_image": ("images:write", "image", None),
    "images.edit_image": ("images:write", "image", None),
    "images.delete_image": ("images:write", "image", None),
    "images.get_image": ("images:read", None, None),
    "nodes.list_nodes": ("nodes:read", None, None),
    "nodes.create_node": ("nodes:write", "node", None),
    "nodes.add_node": ("nodes:write", "node", None),
    "nodes.get_node": ("nodes:read", None, None),
    "nodes.list_free_ports": ("nodes:read", None, None),
    "nodes.edit_node": ("nodes:write", "node", None),
    "nodes.remove_node": ("nodes:write", "node", None),
    "nodes.make_configure_key": ("nodes:write", "node", None),
    "nodes.set_node_tls": ("nodes:write", "node", None),
    "nodes.delete_node": ("nodes:write", "node", "nodeId"),
    "nodes.start_node_drain": ("nodes:write", "node", None),
    "nodes.get_node_drain": ("nodes:read", None, None),
    "nodes.undo_node_drain": ("nodes:write", "node", None),
    "nodes.pause_node_drain": ("nodes:write", "node", None),
    "nodes.resume_node_drain": ("nodes:write", "node", None),
    "nodes.find_node_drift": ("nodes:write", None, None),
    "nodes.resolve_node_drift": ("nodes:write", "node", None),
    "enrolment.configure_node": ("open", "node", None),
    "operations.start_bulk_operation": ("any key", "operation", None),
    "operations.list_operations": ("instances:read", None, None),
    "operations.get_operation": ("instances:read", None, None),
    "operations.retry_operation": ("instances:write", "operation", None),
    "operations.cancel_operation": ("instances:write", "operation", None),
    "keys.list_keys": ("keys:read", None, None),
    "keys.create_key": ("keys:write", "key", None),
    "keys.get_key": ("keys:read", None, None),
    "keys.edit_key": ("keys:write", "key", None),
    "keys.rotate_key": ("keys:write", "key", None),
    "keys.revoke_key": ("keys:write", "key", None),
    "webhooks.list_webhooks": ("webhooks:read", None, None),
    "webhooks.add_webhook": ("webhooks:write", "webhook", None),
    "webhooks.get_webhook": ("webhooks:read", None, None),
    "webhooks.edit_webhook": ("webhooks:write", "webhook", None),
    "webhooks.rotate_webhook": ("webhooks:write", "webhook", None),
    "webhooks.remove_webhook": ("webhooks:write", "webhook", None),
    "webhooks.list_deliveries": ("webhooks:read", None, None),
    "webhooks.get_delivery": ("webhooks:read", None, None),
    "webhooks.redeliver_delivery": ("webhooks:write", "webhook", None),
    "webhooks.test_webhook": ("webhooks:write", "webhook", None),
    "audit.list_audit_entries": ("audit:read", None, None),
    "events.list_events": ("any key", None, None),
    "events.create_event_ticket": ("any key", None, None),
    "stats.list_stats": ("instances:read", None, None),
    "health.check_health": ("open", None, None),
    "health.check_readiness": ("open", None, None),
    "metrics.show": ("metrics:read", None, None),
    "errors.show": ("open", None, None),
    "api-docs.openapi_json": ("open", None, None),
    "console.show": ("open", None, None),
    "swagger_ui.show": ("open", None, None),
}


def test_every_endpoint_has_a_policy_and_no_policy_is_orphaned():
    """
    The table has the endpoints that the app has, and no others.
    """
    endpoints = {rule.endpoint for rule in create_app(Config()).url_map.iter_rules()}

    assert endpoints == POLICIES.keys()


def test_the_policies_are_these():
    """
    Who may use an endpoint, and what is audited, changes only together with this table.
    """
    found = {
        endpoint: (
            (policy.scope or "any key") if policy.needs_key else "open",
            policy.changes,
            policy.named_by,
        )
        for endpoint, policy in POLICIES.items()
    }

    assert TABLE == found


def test_an_endpoint_without_a_policy_is_not_added():
    """
    The import of its module fails, so that nobody can forget to say who may use it.
    """
    blueprint = Blueprint("forgetful", __name__)

    with pytest.raises(AttributeError, match="policy"):
        blueprint.get("/forgotten")(lambda: {})
