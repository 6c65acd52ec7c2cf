"""The leases that this process holds: claimed, renewed, cancelled, lost."""
