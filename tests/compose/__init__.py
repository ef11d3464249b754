"""The whole Compose stack, run on the engine of this machine. `make test-compose` runs it."""
