"""The command line that all clients share, and the boto3 resource they write through."""

import argparse
import os
import time
from typing import Any

import boto3

from lockside.emulators import tether
from lockside.emulators.emulator import REGION, Credentials


def parser(program: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every client."""
    options = argparse.ArgumentParser(prog=f"python -m lockside.emulators.clients.{program}", allow_abbrev=False)
    options.add_argument("--endpoint", required=True, help="URL of the emulator")
    options.add_argument("--region", default=REGION)
    options.add_argument("--table", required=True)
    options.add_argument("--rounds", type=int, default=1, help="how often the whole story is played")
    options.add_argument("--tethered", action="store_true", help="end as soon as stdin does")
    return options


def settle(options: argparse.Namespace) -> None:
    """Make this process fit to run: tethered if asked for, and in UTC.

    Flask-Session 0.8.0 stores `utcnow().timestamp()`, which reads UTC as local time: anywhere else its deadlines are
    hours off.
    """
    if options.tethered:
        tether.hold()
    os.environ["TZ"] = "UTC"
    if hasattr(time, "tzset"):
        time.tzset()


def resource(options: argparse.Namespace) -> Any:
    """Return the boto3 resource that the client libraries want, with made-up credentials: an emulator, never AWS."""
    made_up = Credentials()
    return boto3.resource(
        "dynamodb",
        endpoint_url=options.endpoint,
        region_name=options.region,
        aws_access_key_id=made_up.access_key_id,
        aws_secret_access_key=made_up.secret_access_key,
    )
