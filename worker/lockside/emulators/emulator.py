"""A running local DynamoDB: where it is, how to speak to it, how to end it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal, Self

Kind = Literal["moto", "dynamodb-local"]

REGION: Final = "us-east-1"
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Made-up credentials. DynamoDB Local takes letters and digits only."""

    access_key_id: str = "lockside"
    secret_access_key: str = "lockside"  # noqa: S105 - an emulator checks nothing


@dataclass(frozen=True, slots=True)
class Emulator:
    """A local DynamoDB that lives until it is closed."""

    kind: Kind
    endpoint_url: str
    end: Callable[[], None] = field(repr=False, compare=False)
    region: str = REGION
    credentials: Credentials = field(default_factory=Credentials)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to reach this emulator and nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
        }

    def close(self) -> None:
        """End the emulator and all it holds. May be called again."""
        self.end()

    def __enter__(self) -> Self:
        """Return the emulator, which runs already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the emulator."""
        self.close()
