"""Tests of the monolith; `characterization/` also runs against whatever takes its place."""
