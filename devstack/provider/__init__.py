"""A provider that moves no money: the other side of docs/design.md, "Provider", with faults on request."""
