"""What operators see of the processes: logs."""
