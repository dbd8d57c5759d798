"""The local stack: every process of the system under one supervisor, all state in one folder."""
