"""The Kafka transport: the same capture and the same applier as the direct one, with topics in Debezium's shape
between.

    source ──► relay ──► topics <prefix>.<schema>.<table> ──► consumers (a group) ──► target
                 │                                                │
                 └──► topic <prefix>.banyan (control) ────────────┘  positions, fences, truncates

Read `guard.py` for why nothing is lost, doubled or brought back, `control.py` for what the watermark rests on.
"""
