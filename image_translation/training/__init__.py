"""What stands around a fit: seeding, devices, resuming."""
