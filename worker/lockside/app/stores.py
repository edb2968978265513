"""The stores as the commands use them: reached by the settings, on a client that fits them."""

from typing import TYPE_CHECKING, Any

import boto3
from botocore import exceptions as aws

from lockside.aws.clients import refusal
from lockside.stores import connect

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

    from lockside.settings import AwsSettings


def store_client(settings: "AwsSettings") -> "DynamoDBClient":
    """Make the client; nothing is sent yet. Raises SetupError when the region, profile or credentials are missing."""
    options: dict[str, Any] = {"endpoint_url": settings.endpoint_url or None}
    try:
        session = boto3.Session(region_name=settings.region or None, profile_name=settings.profile or None)
        if session.get_credentials() is None:
            raise aws.NoCredentialsError
        return connect.client(session, **options)
    except (aws.BotoCoreError, ValueError) as error:
        raise refusal(error, settings.endpoint_url) from error
