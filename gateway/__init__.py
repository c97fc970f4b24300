"""What stands in front of the services? Gateways, written from one route file and the API's own policy."""
