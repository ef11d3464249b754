"""What is done to the database as a whole: migrations, validators, indexes, inspection, backups."""
