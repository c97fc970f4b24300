"""Customers under the merchant's own ids (docs/design.md, "The API")."""
