"""What keeps secrets and keeps people out: encryption at rest, key files, TLS, lockout, masking."""
