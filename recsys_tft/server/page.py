"""`GET /`: a self-contained web page."""

import base64
import hashlib
import importlib.resources
from typing import Any

from recsys_tft.server.exports import Exports

_SUGGESTED = 60  # values of a column, and users


def _read(name: str) -> str:
    return importlib.resources.files("recsys_tft.server").joinpath("page", name).read_text("utf-8")


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE, _SCRIPT = _read("page.css"), _read("page.js")
HTML = _read("page.html").replace("/*STYLE*/", _STYLE).replace("/*SCRIPT*/", _SCRIPT).encode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src {_hashed(_STYLE)}; script-src {_hashed(_SCRIPT)}; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def known(exports: Exports) -> dict[str, Any]:
    """The response to `GET /known`: the columns of a request, and usual values."""
    recommender = exports.current
    return {
        "version": recommender.version,
        "videos": len(recommender.store.video_ids),
        "ids": {key: "string" if kind.is_text else "integer" for key, kind in recommender.kinds.items()},
        "takes_events": exports.takes_events,
        "users": [str(user) for user in recommender.store.some_users(_SUGGESTED)],
        "columns": [
            {
                "name": column.name,
                "type": str(column.type.value_type if column.is_list else column.type),
                "is_list": column.is_list,
                "usual": recommender.store.usual(column.name, _SUGGESTED),
            }
            for column in recommender.columns
        ],
    }
