"""What the gateway's public API says: pydantic models that OpenAPI, AsyncAPI and the clients' types come from."""
