"""Who may call: token, key sets, policy, principal (docs/design.md, "Who may call")."""
