"""What the API and the workers must agree on; knows neither flask nor a model SDK."""
