"""How does Alembic reach the database? On the connection that `paidonce.migrations.upgrade` hands it."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
