"""The app for any WSGI server: `waitress-serve wsgi:app`. Settings come from the environment."""

import os

from service.app import create_app
from service.config import Config
from service.telemetry import logs

config = Config.from_env(os.environ)
config.require_mongodb()
logs.set_up(config)
logs.report_ignored()
app = create_app(config)
