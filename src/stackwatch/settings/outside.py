"""What can be set about the world outside: cluster, server, status page, who is told of what."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stackwatch.model.delivery import PathRule, ServerOptions
from stackwatch.model.options import ClusterOptions
from stackwatch.settings.values import (
    AbsolutePath,
    Count,
    ListenAddress,
    Number,
    SchedulerAddress,
    Section,
    Url,
    WallTime,
    refuse,
)

Subject = Literal["parked", "share-down", "disk-low", "delivered"]
"""What people may be told about."""


class ClusterSettings(Section):
    """`[cluster]`: the workers that convert where `executor` is `dask`."""

    scheduler: SchedulerAddress = ""
    kind: Literal["", "slurm"] = ""
    workers: Annotated[Count, Field(ge=1, le=10_000)] = 2
    threads: Annotated[Count, Field(ge=1, le=1024)] = 1
    memory_gib: Annotated[Number, Field(gt=0)] = 4.0
    partition: str = ""
    wall_time: WallTime = "04:00:00"
    lost_after_s: Annotated[Number, Field(gt=0)] = 600.0

    def options(self) -> ClusterOptions:
        """Return what a conversion is told."""
        return ClusterOptions(**self.model_dump())


class WebknossosSettings(Section):
    """`[webknossos]`: the server that datasets are delivered to."""

    url: Url | None = None
    token_file: AbsolutePath | None = None
    datastore: str | None = None
    ca_file: AbsolutePath | None = None
    chunk_mib: Annotated[Count, Field(ge=1, le=1024)] = 16
    parallel: Annotated[Count, Field(ge=1, le=32)] = 4
    finish_timeout_s: Annotated[Number, Field(gt=0)] = 7200.0
    path_map: dict[str, str] = {}  # noqa: RUF012 - pydantic gives each record its own

    @model_validator(mode="after")
    def _paths_are_absolute(self) -> Self:
        for local, remote in self.path_map.items():
            if not local.startswith("/"):
                raise refuse(f"path_map: “{local}” must be an absolute path")
            if "://" not in remote:
                raise refuse(
                    f"path_map: “{remote}” must be the server's address of “{local}”, such as "
                    "file:///srv/wk or https://data.example.org/wk"
                )
        return self

    def server_options(self) -> ServerOptions:
        """Return which server, and how it is spoken with. `url` must be set."""
        assert self.url is not None
        return ServerOptions(
            url=self.url,
            token_file=str(self.token_file or ""),
            datastore=self.datastore or "",
            ca_file=str(self.ca_file or ""),
            chunk_mib=self.chunk_mib,
            parallel=self.parallel,
            finish_timeout_s=self.finish_timeout_s,
        )

    def path_rules(self) -> tuple[PathRule, ...]:
        """Return where the server finds what lies here."""
        return tuple(PathRule(local, remote) for local, remote in self.path_map.items())


class WebSettings(Section):
    """`[web]`: the status page."""

    listen: ListenAddress = "127.0.0.1:8087"
    hosts: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    actions: bool = False
    token_file: AbsolutePath | None = None
    viewer: AbsolutePath | None = None

    @model_validator(mode="after")
    def _actions_need_a_token(self) -> Self:
        if self.actions and self.token_file is None:
            raise refuse("token_file must be set where actions = true")
        return self


class NoticesSettings(Section):
    """`[notices]`: who is told of what."""

    about: tuple[Subject, ...] = ("parked", "share-down", "disk-low")
    webhook: tuple[Url, ...] = ()
    apprise_file: AbsolutePath | None = None
    digest_s: Annotated[Number, Field(ge=0)] = 900.0
