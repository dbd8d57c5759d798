"""The battery agent: runs alone on a small computer beside a battery; needs only httpx and the standard library."""

VERSION = "0.1.0"
