"""What the monolith answers, over HTTP only: true for whoever stands in its place."""
