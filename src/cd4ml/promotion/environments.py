"""Environments as data: each a store, as whom it is asked, and what it wants of a version before it takes it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from cd4ml import settings
from cd4ml.errors import ArgumentsError
from cd4ml.evaluation import limits
from cd4ml.evaluation.limits import Limits
from cd4ml.names import nearest
from cd4ml.settings import OneOf, Strict, Whole
from cd4ml.storage import Store, check_uri, credentials, local_path, open_store

NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
ENDPOINT = "AWS_ENDPOINT_URL"
PREFIX = r"^[A-Z][A-Z0-9_]*$"


def _limits(content: Any) -> Mapping[str, Any]:
    """Limits as a person writes them, which are some."""
    if not isinstance(content, Mapping):
        raise ValueError("write limits by metric, as `{auc: {min: 0.7}}`")
    limits.parse(content)
    return content


Name = Annotated[str, Field(pattern=NAME)]
Person = Annotated[str, AfterValidator(lambda name: " ".join(name.split())), Field(min_length=1)]
"""As people are told apart: however many spaces are between their names."""


class Environment(Strict):
    """A store of its own, and what it wants of a version."""

    store: Annotated[str, Field(min_length=1)]
    """A folder, or `s3://bucket/prefix`."""
    credentials: Annotated[str, Field(pattern=PREFIX)] = ""
    """The beginning of the variables that say as whom S3 is asked: with `PRODUCTION` it is
    `PRODUCTION_AWS_ACCESS_KEY_ID`; if not said, `AWS_ACCESS_KEY_ID`."""
    namespace: Name = ""
    """Where its runs and models are, for the record."""
    origin: Name = Field(default="", alias="from")
    """The environment that versions come from."""
    limits: Annotated[Mapping[str, Any], OneOf(_limits, lambda: [Limits])] = Field(default_factory=dict)
    """Those that a version must keep to come here, beside those that it was published with."""
    approvers: Annotated[tuple[Person, ...], Field(strict=False)] = ()
    """Who may let a version in."""
    approvals: Annotated[Whole, Field(ge=1)] = 1
    """How many of them have to."""
    trusted_keys: str = ""
    """A public key, or a folder of such, of which one must have signed; what this machine trusts if not said."""

    @model_validator(mode="after")
    def _can_be_approved(self) -> Self:
        people = {one.casefold() for one in self.approvers}
        if len(people) < len(self.approvers):
            raise ValueError("approvers: names somebody twice")
        if "approvals" in self.model_fields_set and len(people) < self.approvals:
            raise ValueError(f"approvals: {self.approvals} of {len(people)} approvers can never be; name more of them")
        return self

    @property
    def place(self) -> str:
        """Where its store is, by which it is told from others.

        Raises:
            StorageError: There can be no such place, or its keys are not there.
        """
        if "://" not in self.store:
            return str(local_path(self.store).resolve())
        with credentials.of(self.credentials):
            return f"{self.store.rstrip('/')} {os.environ.get(ENDPOINT, '')}".rstrip()

    @contextmanager
    def entered(self) -> Iterator[Store]:
        """Its store; S3 is asked by its credentials as long as the context lasts.

        Raises:
            StorageError: There is no such place, or its keys are not there.
        """
        prefix = self.credentials if "://" in self.store else ""
        with credentials.of(prefix):
            yield open_store(check_uri(self.store))


class Environments(Strict):
    """All that there are, by their names."""

    environments: Annotated[dict[Name, Environment], Field(min_length=1)]

    def named(self, name: str) -> Environment:
        """One of them.

        Raises:
            ArgumentsError: There is none of this name.
        """
        if name not in self.environments:
            raise ArgumentsError(f"no environment {name!r}; {nearest(name, self.environments)}")
        return self.environments[name]

    def origin(self, name: str, said: str = "") -> str:
        """The name of the environment that versions come from to one.

        Args:
            name: The one.
            said: What a person says.

        Raises:
            ArgumentsError: There is no such environment, or nothing says which.
        """
        others = [one for one in self.environments if one != name]
        found = said or self.named(name).origin or (others[0] if len(others) == 1 else "")
        if not found:
            raise ArgumentsError(f"nothing says from where versions come to {name}; write its `from`, or say --from")
        if found == name:
            raise ArgumentsError(f"{name}: a version cannot come from where it goes; name another with --from")
        self.named(found)
        return found


def parse(content: object, name: str) -> Environments:
    """Checks what a file says of environments.

    Args:
        content: As YAML has it: `environments`, by name.
        name: The file, for errors.

    Raises:
        ArgumentsError: With every mistake.
    """
    return settings.parse(Environments, content=content, name=name, error=ArgumentsError)
