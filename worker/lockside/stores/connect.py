"""A boto3 client that fits the stores: it tries nothing again by itself, and gives up soon.

The stores decide themselves what may be sent twice. A client that repeats an unconditional write whose answer was lost
may do it once more after another's; one that waits for an answer for a minute misses every heartbeat meanwhile.
"""

from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config

from lockside.aws.answers import look_over

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

CONNECT_SECONDS_MAX: Final = 1.0
READ_SECONDS_MAX: Final = 5.0
CONNECTIONS_MAX: Final = 64


def client(session: boto3.Session | None = None, **options: Any) -> "DynamoDBClient":
    """Make a client; `options` are those of `boto3.Session.client`, such as `region_name` and `endpoint_url`.

    Its time-outs suit leases of 15 seconds and more; give a `config` of yours for shorter ones.
    """
    config = Config(
        connect_timeout=CONNECT_SECONDS_MAX,
        read_timeout=READ_SECONDS_MAX,
        max_pool_connections=CONNECTIONS_MAX,
        retries={"mode": "standard", "total_max_attempts": 1},
    ).merge(options.pop("config", None) or Config())
    made: DynamoDBClient = (session or boto3.Session()).client("dynamodb", config=config, **options)
    look_over(made)
    return made
