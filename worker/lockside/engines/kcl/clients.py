"""The AWS clients that KCL works with, made to speak as boto3's do: same region, endpoint and credentials.

Two things are written in Python and called from Java: the credentials, which boto3's own chain resolves and refreshes,
and for DynamoDB Local an interceptor of requests. A proxy must have all methods of its interface, also those that Java
has a default for: JPype does not fall back to it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from lockside.engines.kcl.java import class_of, typed

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

SDK: Final = "software.amazon.awssdk."
LOCAL_REGION: Final = ":ddblocal:"
"""The region that DynamoDB Local writes into its ARNs. The adapter refuses it, as it is none that the SDK knows."""

STAND_IN_REGION: Final = ":us-east-1:"

SILENT: Final = (
    "beforeExecution",
    "beforeMarshalling",
    "afterMarshalling",
    "beforeTransmission",
    "afterTransmission",
    "beforeUnmarshalling",
    "afterUnmarshalling",
    "afterExecution",
    "onExecutionFailure",
)
PASSED_ON: Final[Mapping[str, str]] = {
    "modifyHttpRequest": "httpRequest",
    "modifyHttpContent": "requestBody",
    "modifyAsyncHttpContent": "asyncRequestBody",
    "modifyHttpResponse": "httpResponse",
    "modifyHttpResponseContent": "responseBody",
    "modifyAsyncHttpResponseContent": "responsePublisher",
    "modifyResponse": "response",
    "modifyException": "exception",
}
"""What the other methods of an interceptor hand back unchanged, by the context's own name for it."""

SCHEDULED_THREADS: Final = 2
"""Threads for time-outs and pauses before a retry, for all clients together; the SDK's own are five for each client."""

AwsCredentials = Callable[[], tuple[str, str, str | None]]
"""Returns access key, secret key and session token, refreshed where they are short-lived."""


@dataclass(frozen=True, slots=True)
class Access:
    """How AWS is reached: just as boto3's clients reach it."""

    region: str
    tables_url: str
    streams_url: str
    credentials: AwsCredentials

    @classmethod
    def of(cls, dynamodb: "DynamoDBClient", streams: "DynamoDBStreamsClient") -> "Access":
        """Reach AWS as these clients do: region, endpoints, and credentials with their refreshing."""
        signer: Any = dynamodb

        def credentials() -> tuple[str, str, str | None]:
            # No public way leads to what a client signs with.
            frozen = signer._request_signer._credentials.get_frozen_credentials()  # noqa: SLF001
            return frozen.access_key, frozen.secret_key, frozen.token

        return cls(dynamodb.meta.region_name, dynamodb.meta.endpoint_url, streams.meta.endpoint_url, credentials)


@dataclass(frozen=True, slots=True)
class JavaClients:
    """The SDK's clients: streams (behind the adapter), tables, and CloudWatch, which nothing is sent to."""

    streams: Any
    adapter: Any
    dynamodb: Any
    cloudwatch: Any


def connect(access: Access, stream_arn: str) -> JavaClients:
    """Make clients for one stream; nothing is sent yet."""
    region = class_of(SDK + "regions.Region").of(access.region)
    credentials = _credentials(access.credentials)

    def built(builder: Any, url: str = "", interceptor: Any = None) -> Any:
        builder = builder.region(region).credentialsProvider(credentials)
        builder = builder.overrideConfiguration(_overrides(interceptor))
        return (builder.endpointOverride(class_of("java.net.URI").create(url)) if url else builder).build()

    streams = built(
        class_of(SDK + "services.dynamodb.streams.DynamoDbStreamsClient").builder(),
        access.streams_url,
        _local_arns() if is_local(stream_arn) else None,
    )
    adapter = class_of("com.amazonaws.services.dynamodbv2.streamsadapter.AmazonDynamoDBStreamsAdapterClient")
    return JavaClients(
        streams,
        adapter(streams, region),
        built(class_of(SDK + "services.dynamodb.DynamoDbAsyncClient").builder(), access.tables_url),
        built(class_of(SDK + "services.cloudwatch.CloudWatchAsyncClient").builder()),
    )


def is_local(stream_arn: str) -> bool:
    """Whether a stream is DynamoDB Local's."""
    return LOCAL_REGION in stream_arn


def adapters_arn(stream_arn: str) -> str:
    """Return the ARN that the adapter is told of."""
    return stream_arn.replace(LOCAL_REGION, STAND_IN_REGION)


def _credentials(resolve: AwsCredentials) -> Any:
    basic = class_of(SDK + "auth.credentials.AwsBasicCredentials")
    session = class_of(SDK + "auth.credentials.AwsSessionCredentials")
    identity = class_of(SDK + "identity.spi.AwsCredentialsIdentity").class_
    future = class_of("java.util.concurrent.CompletableFuture")

    def resolved(*_request: Any) -> Any:
        key, secret, token = resolve()
        return basic.create(key, secret) if token is None else session.create(key, secret, token)

    methods: dict[str, Any] = {
        "resolveCredentials": resolved,
        "resolveIdentity": lambda *request: future.completedFuture(resolved(*request)),
        "identityType": lambda: identity,
    }
    import jpype  # noqa: PLC0415 - an optional package

    proxy = jpype.JProxy(SDK + "auth.credentials.AwsCredentialsProvider", dict=methods)
    return typed(proxy, SDK + "identity.spi.IdentityProvider")


def _local_arns() -> Any:
    """Put DynamoDB Local's own region back into the ARNs that are asked for; answers need nothing."""
    model = SDK + "services.dynamodb.model."
    asking = (class_of(model + "DescribeStreamRequest"), class_of(model + "GetShardIteratorRequest"))

    def request(context: Any, _attributes: Any) -> Any:
        asked = context.request()
        if not isinstance(asked, asking):
            return asked
        arn = str(asked.streamArn()).replace(STAND_IN_REGION, LOCAL_REGION)
        return asked.toBuilder().streamArn(arn).build()

    def passing(member: str) -> Callable[[Any, Any], Any]:
        return lambda context, _attributes: getattr(context, member)()

    methods: dict[str, Any] = dict.fromkeys(SILENT, lambda _context, _attributes: None)
    methods |= {name: passing(member) for name, member in PASSED_ON.items()}
    methods["modifyRequest"] = request
    import jpype  # noqa: PLC0415 - an optional package

    return jpype.JProxy(SDK + "core.interceptor.ExecutionInterceptor", dict=methods)


def _overrides(interceptor: Any) -> Any:
    made = class_of(SDK + "core.client.config.ClientOverrideConfiguration").builder()
    made = made.scheduledExecutorService(_scheduled_pool())
    return (made if interceptor is None else made.addExecutionInterceptor(interceptor)).build()


@cache
def _scheduled_pool() -> Any:
    """Return the one of this process: it lives as long as its JVM, whatever clients are closed."""
    return class_of("java.util.concurrent.Executors").newScheduledThreadPool(SCHEDULED_THREADS)
