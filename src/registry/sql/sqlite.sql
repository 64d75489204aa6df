-- The tables of portcullis::registry::SqliteRegistry. Running this again changes nothing.
-- Moments are milliseconds since 1970, by the clock of the machine.

CREATE TABLE IF NOT EXISTS portcullis_sessions (
    sid          TEXT NOT NULL PRIMARY KEY,
    tenant       TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    auth_ms      INTEGER NOT NULL,
    created_ms   INTEGER NOT NULL,
    last_used_ms INTEGER NOT NULL,
    expires_ms   INTEGER NOT NULL,
    ended        TEXT,
    ended_ms     INTEGER,
    token        TEXT NOT NULL,
    data         TEXT NOT NULL,
    CHECK ((ended IS NULL) = (ended_ms IS NULL))
);

-- The sessions of a user: lists, limits, revoking all or others.
CREATE INDEX IF NOT EXISTS portcullis_sessions_user
    ON portcullis_sessions (tenant, user_id, created_ms, sid) WHERE ended_ms IS NULL;
-- What ended since a moment, and what may be swept.
CREATE INDEX IF NOT EXISTS portcullis_sessions_ended
    ON portcullis_sessions (ended_ms) WHERE ended_ms IS NOT NULL;
-- The latest login of all: a cutoff is never before it.
CREATE INDEX IF NOT EXISTS portcullis_sessions_auth
    ON portcullis_sessions (auth_ms);

CREATE TABLE IF NOT EXISTS portcullis_cutoffs (
    kind    INTEGER NOT NULL, -- 0 everyone, 1 a tenant, 2 a user
    tenant  TEXT NOT NULL,
    user_id TEXT NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (kind, tenant, user_id)
);

CREATE INDEX IF NOT EXISTS portcullis_cutoffs_at ON portcullis_cutoffs (at_ms);
