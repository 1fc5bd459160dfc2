"""What people are told about: parked acquisitions, shares that went away, disks that fill up."""
