"""The Lockside side: fights over locks until it is killed, with a fenced counter behind each of them.

`python -m tests.foreign.fighter ENDPOINT TABLE COUNTERS OWNER LEASE SEED LOCK...`; one line a step: nanoseconds, step,
lock, fence. It writes by a transaction that it built before it held the lock for a while, as a holder does that is
frozen between its check and its write: what comes too late is for the table to refuse.
"""

import random
import sys
import threading
import time
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from lockside.emulators import tether
from lockside.emulators.emulator import REGION, Credentials
from lockside.errors import LockTakenError, OutcomeUnknownError
from lockside.stores import Lock, LockClient, connect

HOLD_SECONDS_MAX: Final = 0.25
WAIT_SECONDS: Final = 3.0


def tell(step: str, lock: str, fence: int = 0) -> None:
    """Print one line."""
    sys.stdout.write(f"{time.monotonic_ns()} {step} {lock} {fence}\n")
    sys.stdout.flush()


def counting(counters: str, lock: Lock) -> dict[str, Any]:
    """Build the write of the counter: refused to a smaller fence than it has seen. The row keeps their order."""
    fence = {"N": str(lock.fence)}
    return {
        "Update": {
            "TableName": counters,
            "Key": {"key": {"S": lock.name}},
            "UpdateExpression": "SET fence = :fence, taken = list_append(if_not_exists(taken, :none), :these)",
            "ConditionExpression": "attribute_not_exists(fence) OR fence <= :fence",
            "ExpressionAttributeValues": {":fence": fence, ":none": {"L": []}, ":these": {"L": [fence]}},
        }
    }


def hold(client: Any, counters: str, held: Lock, chance: random.Random) -> None:
    """Build the write, wait, send it whatever became of the lock, and tell what came of it."""
    with_check = [held.check(), counting(counters, held)]
    tell("acquired", held.name, held.fence)
    threading.Event().wait(chance.uniform(0, HOLD_SECONDS_MAX))
    surely = held.held
    try:
        client.transact_write_items(TransactItems=with_check)
    except ClientError:
        # By the check and, once a Lockside client holds it, by the fence alone too.
        tell("refused" if surely else "refused-late", held.name, held.fence)
        try:
            client.transact_write_items(TransactItems=[counting(counters, held)])
        except ClientError:
            tell("fenced", held.name, held.fence)
        else:
            tell("uncontested", held.name, held.fence)
    else:
        tell("wrote", held.name, held.fence)
    tell("releasing", held.name, held.fence)
    tell("released" if held.release() else "overtaken", held.name, held.fence)


def main(arguments: list[str]) -> None:
    """Fight."""
    endpoint, table, counters, owner, lease, seed, *locks = arguments
    tether.hold()
    made_up = Credentials()
    session = boto3.Session(
        aws_access_key_id=made_up.access_key_id,
        aws_secret_access_key=made_up.secret_access_key,
        region_name=REGION,
    )
    client = connect.client(session, endpoint_url=endpoint)
    chance = random.Random(int(seed))  # noqa: S311 - repeatable
    lock_client = LockClient(client, table, owner=owner, lease=float(lease), look=0.05)
    while True:
        try:
            held = lock_client.acquire(chance.choice(locks), wait=WAIT_SECONDS)
        except LockTakenError:
            continue
        except OutcomeUnknownError as error:
            tell("unknown", type(error).__name__)
            continue
        try:
            hold(client, counters, held, chance)
        except Exception as error:  # noqa: BLE001 - a check may find the lock lost at once
            tell("failed", held.name, held.fence)
            sys.stderr.write(f"{type(error).__name__}\n")
            held.release()


if __name__ == "__main__":
    main(sys.argv[1:])
