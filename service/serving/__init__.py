"""Running Skyquay as processes of a machine: the server, the private mongod, the first start."""
