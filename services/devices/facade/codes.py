"""The monolith's letters and our words."""

from services.chassis.facade.codes import Codes

DEVICE_STATES = Codes({"N": "new", "A": "active", "R": "retired"})
ACK_STATES = Codes({"D": "delivered", "S": "succeeded", "F": "failed", "X": "expired"})
MODES = Codes({"C": "charge", "D": "discharge", "H": "hold"})
