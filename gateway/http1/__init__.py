"""HTTP/1.1 on the wire: two protocol classes, one per side, joined by an exchange."""
