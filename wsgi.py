"""The app for any WSGI server: `waitress-serve wsgi:app`. Settings come from the environment."""

import os

from service.app import create_app
from service.config import Config

app = create_app(Config.from_env(os.environ))
