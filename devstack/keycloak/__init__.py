"""A real identity provider beside the development issuer: Keycloak, for opt-in tests (docs/keycloak.md)."""
