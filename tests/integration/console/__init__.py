"""The console over real HTTP, fed by servers that play the other components."""
