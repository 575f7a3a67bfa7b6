"""Plain SQL migrations: `services/NAME/migrations/NNNN_what.sql` into schema NAME, each once, in order.

Each file is one transaction; a file that changed after it was applied is refused. Schema `read` and the role
`sextant_reader`, which may select from it and nothing else, are made by whoever comes first.
"""

import hashlib
from pathlib import Path

import psycopg
from psycopg import sql

READER = "sextant_reader"
SERVICES = Path(__file__).parents[2] / "services"

_GROUND = f"""
CREATE EXTENSION IF NOT EXISTS timescaledb;
CREATE SCHEMA IF NOT EXISTS read;
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{READER}') THEN CREATE ROLE {READER} NOLOGIN; END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
GRANT {READER} TO CURRENT_USER;
GRANT USAGE ON SCHEMA read TO {READER};
ALTER DEFAULT PRIVILEGES IN SCHEMA read GRANT SELECT ON TABLES TO {READER};
"""


class ChangedMigration(Exception):
    """A file was edited after it had been applied."""


def lay_ground(database: str) -> None:
    """Schema `read` and its reader, for whoever comes first. Safe to run at the same time."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('sextant migrations'))")
        connection.execute(_GROUND.encode())


def migrate(database: str, service: str, folder: Path | None = None) -> list[str]:
    """Apply what is missing and return the names of the files applied. Safe to run at the same time."""
    lay_ground(database)
    folder = folder or SERVICES / service / "migrations"
    applied = []
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('sextant migrations'))")
        schema = sql.Identifier(service)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
        table = sql.SQL("{}.migrations").format(schema)
        connection.execute(
            sql.SQL("CREATE TABLE IF NOT EXISTS {} (name text PRIMARY KEY, digest text NOT NULL)").format(
                table
            )
        )
        rows = connection.execute(sql.SQL("SELECT name, digest FROM {}").format(table)).fetchall()
        known = {name: digest for name, digest in rows}
        for file in sorted(folder.glob("*.sql")):
            text = file.read_bytes()
            digest = hashlib.sha256(text).hexdigest()
            if file.name in known:
                if known[file.name] != digest:
                    raise ChangedMigration(
                        f"{file.name} was changed after it had been applied: add a new file"
                    )
                continue
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL search_path = {}, public").format(schema))
                connection.execute(text)
                connection.execute(
                    sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(table), [file.name, digest]
                )
            applied.append(file.name)
    return applied
