"""HTTP: routes, wire schemas and problem documents (docs/design.md, "The API")."""
