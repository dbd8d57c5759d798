"""What clients would be told of an answer: with our places for those of the backends, so that both sides compare alike.

The primary's answer comes through here a second time, which changes nothing: what is hidden is not found again.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.facade.front import Front
from gateway.facade.links import has_links, weakened
from gateway.facade.places import Public
from gateway.shadow.answer import Answer


@dataclass(frozen=True, slots=True)
class Shown:
    """`front`, `public`: the facade's rules, and what this client calls us, when it got its answer."""

    front: Front
    public: Public

    def of(self, answer: Answer, upstream: str) -> Answer:
        head, body = self.front.told(answer.head, self.public, upstream), answer.body
        if self.front.link_types and has_links(self.front, answer):
            changed = self.front.places.hidden(body, self.public)
            if changed != body:
                head, body = weakened(head), changed
        return (
            answer if head == answer.head and body == answer.body else Answer(answer.status, head, head.lower(), body)
        )
