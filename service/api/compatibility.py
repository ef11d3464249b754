"""Answers for clients of the older panel's last version, which differ from its reference.

A key that was made with `compatibility` "0.3.0" gets them; docs/compatibility.md lists them all.
"""

from flask import Response, request

from service.api.call import Call
from service.api.encoding import json_answer

_FOUND = {"users.look_up_user": 200, "instances.delete_instance": 200}
"""Where the last version answers success with 200 instead of 201."""


def adapt(call: Call, answer: Response) -> Response:
    """Give an answer the code and the shape that the holder of the key reads."""
    if call.key is None or call.key.get("compatibility") != "0.3.0":
        return answer
    if answer.status_code == 201 and request.endpoint in _FOUND:
        answer.status_code = _FOUND[request.endpoint]
    if request.endpoint == "nodes.delete_node":
        return _adapt_node_deletion(call, answer)
    if answer.status_code == 400 and (call.error_code or "").endswith("_not_found"):
        answer.status_code = 404
        answer.set_data(json_answer({**answer.get_json(), "status": 404}, 404).get_data())
    return answer


def _adapt_node_deletion(call: Call, answer: Response) -> Response:
    """Call a node deleted that was not there, and say so under `Message`."""
    unknown = answer.status_code == 400 and call.error_code == "node_not_found"
    if answer.status_code != 201 and not unknown:
        return answer
    body = {"message": "The node is deleted.", "instances": 0} if unknown else answer.get_json()
    return json_answer({**body, "Message": body["message"]}, 201)
