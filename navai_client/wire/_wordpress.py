"""How upstream's WordPress plugin differs from other backends, and the repair of JSON that PHP wrote.

The plugin (Luxisoft/navai, ``apps/wordpress-plugin``, 0.3.45) has the contract's operations below
``/wp-json/navai/v1``, or in the query of a site with plain permalinks. It responds by the rules of
WordPress's REST API, and knows no ``Idempotency-Key``.
"""

import re
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import frozen

from navai_client.wire._values import Response

if TYPE_CHECKING:
    from navai_client.wire._operations import PathOptions

# The end of the API's address: of the link in a site's pages (rel="https://api.w.org/"), or of a route.
_API: Final = re.compile(r"/wp-json(?:/navai/v1)?/*|(?:/index\.php|/)?\?rest_route=/[a-z0-9/]*")
_PLAIN: Final = "?rest_route="
_ROUTES: Final = {
    "client_secret_path": "/navai/v1/realtime/client-secret",
    "functions_list_path": "/navai/v1/functions",
    "functions_execute_path": "/navai/v1/functions/execute",
}
_TOO_MANY: Final = 429
_BAD_GATEWAY: Final = 502
_REFUSED_BY_OPENAI: Final = re.compile(r"\(4\d\d\)")

# Keywords of JSON Schema: an object of schemas, a schema, an array of schemas. In others, [] is an array.
_OBJECTS_OF_SCHEMAS: Final = {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
_SCHEMAS: Final = {
    *("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"),
    *("unevaluatedItems", "unevaluatedProperties"),
}
_ARRAYS_OF_SCHEMAS: Final = {"allOf", "anyOf", "oneOf", "prefixItems"}


@frozen(kw_only=True)
class WordPress:
    """What a client knows of the plugin that it calls.

    Attributes:
        session_key: The conversation in the plugin's memory that calls belong to, unless they name another.
        agent_key: The agent that executions are for, unless they name another.
    """

    session_key: str | None = None
    agent_key: str | None = None

    @staticmethod
    def is_final(response: Response, record: Any) -> bool:
        """Return whether another attempt would be refused as well.

        The limit of client secrets is 30 in a minute, and its 429 has no ``Retry-After``. If OpenAI refuses,
        even because of a wrong key, the plugin responds with 502, and OpenAI's status is in the message.

        Args:
            response: A response outside 2xx.
            record: Its JSON.
        """
        if response.status == _TOO_MANY:
            return not {"retry-after", "retry-after-ms"} & response.headers.keys()
        if response.status != _BAD_GATEWAY or not isinstance(record, dict):
            return False
        message = record.get("message")
        if record.get("code") != "navai_openai_http_error" or not isinstance(message, str):
            return False
        return _REFUSED_BY_OPENAI.search(message) is not None

    @staticmethod
    def failure_in(result: Any) -> str | None:
        """Return why *result*, of a response with ``ok: true``, is a failure, or None.

        Actions and remote tools return ``{"ok": false, "error"}``, other callbacks a ``WP_Error``, which JSON
        shows as ``{"errors": {code: [text]}, "error_data"}``.
        """
        if not isinstance(result, dict):
            return None
        if result.get("ok") is False and isinstance(result.get("error"), str):
            return str(result["error"])
        errors = result.get("errors")
        if result.keys() - {"additional_data"} != {"errors", "error_data"} or not isinstance(errors, dict):
            return None
        texts = [text for each in errors.values() if isinstance(each, list) for text in each]
        return " ".join(text for text in texts if isinstance(text, str)) or None


def is_wordpress(url: str) -> bool:
    """Return whether *url* is that of a WordPress API."""
    return _API.search(url) is not None


def site_and_paths(url: str) -> "tuple[str, PathOptions]":
    """Return the base URL of the site at *url*, and the paths of the plugin there.

    Args:
        url: The site, or its API: ``.../wp-json/``, or ``.../index.php?rest_route=/`` where permalinks are
            plain, with or without ``index.php``.
    """
    found = _API.search(url)
    if found is None or found.end() != len(url):
        return url, _below("/wp-json")
    if _PLAIN not in found[0]:
        return url[: found.start()], _below("/wp-json")
    script = "index.php" if "index.php" in found[0] else ""
    return url[: found.start()], _below(f"/{script}{_PLAIN}")


def _below(root: str) -> "PathOptions":
    return cast("PathOptions", {option: root + route for option, route in _ROUTES.items()})


def repaired(schema: Any) -> Any:
    """Return the JSON Schema *schema* with ``{}`` where it must be an object: PHP writes ``[]`` for both."""
    if schema == []:
        return {}
    if not isinstance(schema, dict):
        return schema
    return {keyword: _repaired_keyword(keyword, value) for keyword, value in schema.items()}


def _repaired_keyword(keyword: str, value: Any) -> Any:
    if keyword in _OBJECTS_OF_SCHEMAS:
        if isinstance(value, dict):
            return {name: repaired(each) for name, each in value.items()}
        return {} if value == [] else value
    if keyword not in _SCHEMAS | _ARRAYS_OF_SCHEMAS:
        return value
    if isinstance(value, list) and (value or keyword in _ARRAYS_OF_SCHEMAS):
        return [repaired(each) for each in value]
    return repaired(value)
