"""This project beside other gateways."""
