"""The app for any WSGI server: `waitress-serve wsgi:app`. Settings come from the environment."""

import os

from service.app import create_app
from service.config import Config

config = Config.from_env(os.environ)
config.require_mongodb()
config.set_up_logging()
app = create_app(config)
