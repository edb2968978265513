"""The captures: what real clients wrote, what truly happened, and what of it must never come out."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockside.core.attributes import decode_image

CAPTURES = Path(__file__).parents[1] / "captures"
NAMES = sorted(path.stem for path in CAPTURES.glob("*.jsonl") if not path.stem.endswith(".truth"))


def read(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON Lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def secrets(name: str) -> set[str]:
    """Collect what must not come out: session ids, tokens, payloads and what users put beside a lock."""
    found: set[str] = set()
    for record in read(CAPTURES / f"{name}.jsonl"):
        for member in ("NewImage", "OldImage"):
            for attribute, wire in record["dynamodb"].get(member, {}).items():
                found |= _spellings(attribute, wire)
    return found


SECRET_ATTRIBUTES = {
    "data",
    "val",
    "guid",
    "sk",
    "GSI1PK",
    "GSI1SK",
    "sessionToken",
    "access_token",
    "refresh_token",
    "id_token",
    "token",
    "email",
    "secret",
    "purpose",
    "recordVersionNumber",
    "record_version_number",
}


def _spellings(attribute: str, wire: Mapping[str, Any]) -> set[str]:
    value = decode_image({attribute: wire})[attribute]
    session_id = attribute == "id" and isinstance(value, str) and len(value) > 40
    if attribute not in SECRET_ATTRIBUTES and not session_id:
        return set()
    text = value if isinstance(value, str) else base64.b64encode(value).decode()
    return {text, text.removeprefix("session:"), text.removeprefix("SESSION#")} - {""}
