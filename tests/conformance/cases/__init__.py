"""All cases, by subject."""

from tests.conformance.cases.answers import ANSWERS
from tests.conformance.cases.connection import CONNECTION
from tests.conformance.cases.fields import FIELDS
from tests.conformance.cases.framing import FRAMING
from tests.conformance.cases.hops import HOPS
from tests.conformance.cases.lines import LINES

SUBJECTS = {
    "Request line": LINES,
    "Header fields": FIELDS,
    "Framing of requests": FRAMING,
    "Connections": CONNECTION,
    "What a hop removes and adds": HOPS,
    "Responses": ANSWERS,
}
CASES = [case for cases in SUBJECTS.values() for case in cases]
