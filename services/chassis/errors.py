"""What can go wrong in a service.

ServiceError
└── SettingsError             the environment lacks a variable, or one is not usable
Problem                       an answer to the client: problem+json, or {"error": …} in the legacy contract
├── FrameworkProblem          Litestar refused it: no such route, method, body too large
├── Misdirected               the other side owns the rows (421, with the owner and its epoch)
└── Unavailable               the database did not answer in time; try again (503)
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.plugins.problem_details import ProblemDetailsException

from services.chassis.facade import answers


class ServiceError(Exception):
    """Anything that ends a service before it serves."""


class SettingsError(ServiceError):
    """The environment lacks a variable, or one is not usable."""


class Problem(ProblemDetailsException):
    """An error for the client. `detail` is the sentence a person reads; members of `extra` are for programs."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        extra: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        type_: str = "about:blank",
    ) -> None:
        super().__init__(
            detail=detail,
            status_code=status,
            title=HTTPStatus(status).phrase,
            extra=extra,
            headers=headers,
            type_=type_,
            instance=None,
        )

    def to_response(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """problem+json (RFC 9457); on a path of the legacy contract its `{"error": …}`."""
        if request.scope["path"].startswith(answers.PATHS):
            return answers.answer({"error": self.legacy_text()}, self.status_code, self.headers)
        return super().to_response(request)

    def legacy_text(self) -> str:
        return self.detail


class FrameworkProblem(Problem):
    """What Litestar refused before a handler of ours ran: no such route, method, or body too large."""

    def legacy_text(self) -> str:
        return answers.framework_text(self.status_code)


class Misdirected(Problem):
    """The guard refused a write because this side does not own the rows. Nothing was changed: send it to the owner."""

    def __init__(self, domain: str, wave: int, owner: str, epoch: int) -> None:
        super().__init__(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"writes of {domain} wave {wave} belong to {owner}",
            extra={"domain": domain, "wave": wave, "owner": owner, "epoch": epoch},
            headers={"Banyan-Owner": owner, "Banyan-Epoch": str(epoch), "Banyan-Wave": f"{domain}/{wave}"},
            type_="urn:banyan:misdirected",
        )
        self.wave = wave

    def to_response(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """problem+json on every path: it is for the gateway, not for the monolith's clients."""
        return ProblemDetailsException.to_response(self, request)


class Unavailable(Problem):
    """The database is away, or took too long. Nothing was changed."""

    def __init__(self, detail: str = "the database is not available") -> None:
        super().__init__(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "1"})
