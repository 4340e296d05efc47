"""The database's versions, in order, and how alembic runs them. A version that was released is never edited."""
