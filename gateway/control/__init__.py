"""How route tables come to the gateway and figures leave it."""

from gateway.control.client import AdminClient, Applied
from gateway.control.table import Domain, Operation, RouteTable, Upstream, Wave, decode_table, encode_table

__all__ = [
    "AdminClient",
    "Applied",
    "Domain",
    "Operation",
    "RouteTable",
    "Upstream",
    "Wave",
    "decode_table",
    "encode_table",
]
