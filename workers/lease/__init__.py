"""The leases of this process: claimed, renewed, cancelled, lost."""
