"""What gunicorn serves: `legacy_monolith.wsgi:app`."""

from legacy_monolith.app import create_app
from legacy_monolith.settings import from_env

app = create_app(from_env())
