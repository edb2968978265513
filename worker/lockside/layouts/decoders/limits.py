"""How much a payload may be: more than any client stores, less than what could stop a worker."""

from typing import Final

BYTES_MAX: Final = 400 * 1024
"""DynamoDB's limit for a whole item; also what a compressed payload may unfold to."""

DEPTH_MAX: Final = 32
MEMBERS_MAX: Final = 50_000
