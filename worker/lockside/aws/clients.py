"""The AWS clients one process uses, made once from the settings, and what their failures mean at start."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from lockside import __version__
from lockside.core.failures import Verdict
from lockside.errors import LocksideError, NotFoundOutError, SetupError

if TYPE_CHECKING:
    from botocore.config import Config
    from botocore.exceptions import ClientError
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

    from lockside.core.ports import Clock
    from lockside.settings import AwsSettings

ATTEMPTS_MAX: Final = 2
"""botocore's own attempts: few, as what lasts longer is retried by us, with shutdown, metrics and a log line."""

PROMPT_SECONDS_MAX: Final = 2.0
"""How long the prompt client waits for an answer: less than a third of the owner's lease, as one late answer must not
lose it."""

FIRST_SECONDS_MAX: Final = 7.0
"""How long the first call waits: whoever starts a command hears within ten seconds that nobody answers."""

BUSY: Final = frozenset({"500", "502", "503", "504"})
"""What a service, or something in front of it, answers in passing trouble, without a word that tells which of them."""

_MILLISECOND: Final = timedelta(milliseconds=1)
DATE_STEP_MS: Final = 1_000
"""HTTP's Date header counts whole seconds (RFC 9110 §5.6.7)."""


@dataclass(frozen=True, slots=True)
class Clients:
    """Clients are safe to share between threads.

    `writer` does not validate parameters: it puts what was checked before, and validation is half a batch's CPU.
    `prompt` gives up early and tries once, for what is soon tried anew anyway: a lease, a status. `first` tries once
    too, and finds out at start whether anybody answers.
    `endpoint` names for people what is spoken to.
    """

    dynamodb: "DynamoDBClient"
    streams: "DynamoDBStreamsClient"
    writer: "DynamoDBClient"
    prompt: "DynamoDBClient"
    first: "DynamoDBClient"
    endpoint: str


def connect(settings: "AwsSettings") -> Clients:
    """Make the clients; nothing is sent yet.

    Raises SetupError when the region, the profile or the credentials are missing.
    """
    import boto3
    from botocore import exceptions as aws
    from botocore.config import Config
    from botocore.session import get_session

    from lockside.aws import fast_parse, fast_write
    from lockside.aws.answers import look_over

    config = Config(
        connect_timeout=settings.connect_timeout_seconds,
        read_timeout=settings.read_timeout_seconds,
        max_pool_connections=settings.max_connections,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS_MAX},
        user_agent_extra=f"lockside/{__version__}",
    )
    common: dict[str, Any] = {"endpoint_url": settings.endpoint_url or None}
    try:
        core = get_session()
        parsers = fast_parse.FastParserFactory()
        if settings.fast_parse:
            core.register_component(fast_parse.COMPONENT, parsers)
        session = boto3.Session(
            botocore_session=core, region_name=settings.region or None, profile_name=settings.profile or None
        )
        # Asked for now: botocore itself would only notice at the first call, from whatever thread makes it.
        if session.get_credentials() is None:
            raise aws.NoCredentialsError
        dynamodb = session.client("dynamodb", config=config, **common)
        streams = session.client("dynamodbstreams", config=config, **common)
        unchecked = config.merge(Config(parameter_validation=False))
        writer = session.client("dynamodb", config=unchecked, **common)
        prompt = session.client("dynamodb", config=config.merge(_once(settings, PROMPT_SECONDS_MAX)), **common)
        first = session.client("dynamodb", config=config.merge(_once(settings, FIRST_SECONDS_MAX)), **common)
    except (aws.BotoCoreError, ValueError) as error:
        raise refusal(error, settings.endpoint_url) from error
    for client in (dynamodb, streams, writer, prompt, first):
        look_over(client)
    if settings.fast_parse:
        fast_parse.prove(parsers, streams)
    if settings.fast_write:
        fast_write.install(writer)
    return Clients(dynamodb, streams, writer, prompt, first, dynamodb.meta.endpoint_url)


def reached(settings: "AwsSettings", table: str) -> Clients:
    """Make the clients, and see that something that speaks as DynamoDB does answers them.

    It is asked for a table that the caller needs anyway, so that no right is used which nothing else wants. A refusal
    is an answer. Raises SetupError within ten seconds if there is none, NotFoundOutError in passing trouble.
    """
    from botocore import exceptions as aws

    from lockside.aws.answers import having

    clients = connect(settings)
    try:
        having("Table", Mapping, "DescribeTable", lambda: clients.first.describe_table(TableName=table))
    except aws.ClientError as error:
        if _is_foreign(error):
            raise refusal(error, clients.endpoint) from error
    except aws.BotoCoreError as error:
        raise refusal(error, clients.endpoint) from error
    return clients


def _is_foreign(error: "ClientError") -> bool:
    """Whether an error answer names no error of DynamoDB's: botocore then puts the HTTP status in its place."""
    return str(error.response.get("Error", {}).get("Code", "")).isdecimal()


def _once(settings: "AwsSettings", seconds_max: float) -> "Config":
    from botocore.config import Config

    return Config(
        connect_timeout=min(seconds_max, settings.connect_timeout_seconds),
        read_timeout=min(seconds_max, settings.read_timeout_seconds),
        retries={"mode": "standard", "total_max_attempts": 1},
    )


def refusal(error: Exception, endpoint: str) -> LocksideError:
    """Say what a failed call means to someone who is setting up, and the way out.

    The service's own text is left out: it may quote what was sent.
    """
    from botocore import exceptions as aws

    from lockside.aws.answers import BrokenAnswerError
    from lockside.aws.retrying import NO_ANSWER, error_code, verdict

    foreign = "answers, but not as DynamoDB does"
    match error:
        case aws.NoCredentialsError() | aws.PartialCredentialsError() | aws.CredentialRetrievalError():
            return SetupError(
                "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, aws.profile, or give "
                "the machine a role (an emulator takes any two words)"
            )
        case aws.NoRegionError():
            return SetupError('aws.region = "": no region was found; set it, or AWS_DEFAULT_REGION')
        case aws.ProfileNotFound():
            return SetupError("aws.profile: there is no such profile in ~/.aws/config; `aws configure list-profiles`")
        case BrokenAnswerError():
            return SetupError(f"{endpoint or 'AWS'} {foreign}; is aws.endpoint_url right, and no proxy in its place?")
        case aws.ClientError() if _is_foreign(error):
            said = f"{endpoint or 'AWS'} {foreign} (HTTP status {error_code(error)})"
            if error_code(error) in BUSY:
                return NotFoundOutError(f"{said}; try again, and if it stays so, see whether aws.endpoint_url is right")
            return SetupError(f"{said}; is aws.endpoint_url right, and no proxy in its place?")
        case _ if isinstance(error, NO_ANSWER):
            return SetupError(
                f"no answer from {endpoint or 'AWS'} ({type(error).__name__}); is aws.endpoint_url right, the service "
                "up, and the network open?"
            )
        case aws.ClientError() if verdict(error) is Verdict.DENIED:
            return SetupError(
                f"{endpoint or 'AWS'} denies {error.operation_name} ({error_code(error)}); check the credentials and "
                "allow the action in their policy"
            )
        case aws.ClientError():
            return NotFoundOutError(f"{error.operation_name} failed with {error_code(error)}; try again")
        case ValueError():
            return SetupError(f'aws.endpoint_url = "{endpoint}": is not a usable address')
        case _:
            return SetupError(f"the AWS client could not be set up ({type(error).__name__}); check [aws]")


def clock_offset_ms(client: "DynamoDBClient", table: str, clock: "Clock") -> int | None:
    """Measure how far this machine's clock is ahead of the endpoint's Date header; None if it sends none.

    Any answer about a table will do, a refusal too. The header is floored to the second and the call takes time, so
    only what both together cannot explain is counted.
    """
    from botocore import exceptions as aws

    sent_ms = clock.now().wall_ms
    try:
        metadata: Any = client.describe_table(TableName=table)["ResponseMetadata"]
    except aws.ClientError as error:
        metadata = error.response.get("ResponseMetadata", {})
    received_ms = clock.now().wall_ms
    header = metadata.get("HTTPHeaders", {}).get("date")
    return None if header is None else _offset_ms(header, sent_ms, received_ms)


def _offset_ms(header: str, sent_ms: int, received_ms: int) -> int | None:
    try:
        read = parsedate_to_datetime(header)
    except ValueError:
        return None
    stamped = read if read.tzinfo else read.replace(tzinfo=UTC)
    date_ms = (stamped - datetime(1970, 1, 1, tzinfo=UTC)) // _MILLISECOND
    if sent_ms > date_ms + DATE_STEP_MS:
        return sent_ms - (date_ms + DATE_STEP_MS)
    return min(received_ms - date_ms, 0)
