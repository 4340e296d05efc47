"""The part of step 6 that is of an extra: proxies ask over gRPC where a setting names an address."""

from __future__ import annotations

from briefcase.core.calls.ratelimits import PrincipalBuckets
from briefcase.daemon.start import Start
from briefcase.edges.api.auth import Authenticator
from briefcase.edges.api.services import Services
from briefcase.model.errors import ConfigError


async def serve_proxies(
    start: Start, services: Services, authenticator: Authenticator, buckets: PrincipalBuckets
) -> None:
    """Answer proxies over gRPC until the stop, where an address is set.

    Raises:
        ConfigError: the extra is not installed, or the address is not to be had.
    """
    if start.settings.ext_authz_addr is None:
        return
    try:
        from briefcase.edges.ext_authz.server import GrpcServer
    except ImportError:
        raise ConfigError(
            "`BRIEFCASE_EXT_AUTHZ_ADDR`: gRPC needs modules that are not installed",
            hint="pip install 'agentic-briefcase[ext-authz]'; over HTTP, `/ext_authz/` needs none",
        ) from None
    proxies = GrpcServer(services, authenticator, buckets, start.file.server.max_body_bytes)
    start.stack.push_async_callback(proxies.stop)
    await proxies.start(*start.settings.ext_authz_addr)
