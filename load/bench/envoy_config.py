"""Envoy's configuration for the comparison: the duties of `contestants`, in its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

EXTENSIONS = "type.googleapis.com/envoy.extensions"
LOG_FIELDS = {
    "at": "%START_TIME(%s.%3f)%", "method": "%REQ(:METHOD)%", "path": "%PATH(NQ)%", "status": "%RESPONSE_CODE%",
    "ms": "%DURATION%", "domain": "pricing", "side": "%UPSTREAM_CLUSTER%", "reason": "canary",
    "request_id": "%REQ(X-REQUEST-ID)%",
}  # fmt: skip


def envoy_configuration(port: int, backend_port: int, log: Path, *, mirror: bool) -> dict[str, Any]:
    routes = [
        {
            "match": {"prefix": "/"},
            "route": {
                "weighted_clusters": {
                    "clusters": [{"name": "pricing", "weight": 50}, {"name": "legacy", "weight": 50}],
                    "use_hash_policy": True,
                },
                "hash_policy": [{"header": {"header_name": "x-client-id"}}],
                "retry_policy": {"retry_on": "connect-failure,refused-stream,reset", "num_retries": 1},
                **({"request_mirror_policies": [{"cluster": "legacy"}]} if mirror else {}),
            },
            "response_headers_to_add": [{"header": {"key": "banyan-route", "value": "%UPSTREAM_CLUSTER%"}}],
        }
    ]
    filters = f"{EXTENSIONS}.filters"
    access_log = {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
            "path": str(log),
            "log_format": {"json_format": LOG_FIELDS},
        },
    }
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "use_remote_address": True,
        "generate_request_id": True,
        "access_log": [access_log],
        "max_request_headers_kb": 32,
        "request_headers_timeout": "10s",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{filters}.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "in", "address": _socket(port), "filter_chains": [chain]}
    clusters = [_cluster(name, backend_port) for name in ("legacy", "pricing")]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _socket(port)}}
    limits = {"max_connections": 256, "max_pending_requests": 1024, "max_requests": 2048}
    outliers = {"consecutive_5xx": 5, "interval": "1s", "base_ejection_time": "1s", "max_ejection_percent": 100}
    return {
        "name": name,
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "circuit_breakers": {"thresholds": [limits]},
        "outlier_detection": outliers,
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [
            {
                "timeout": "2s", "interval": "1s", "unhealthy_threshold": 2, "healthy_threshold": 1,
                "http_health_check": {"path": "/"},
            }
        ],
    }  # fmt: skip


def _socket(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
