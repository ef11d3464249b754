"""What an operator does now and then: the doctor, and moving in from a Skyport panel."""
