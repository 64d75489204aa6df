-- The tables of portcullis::registry::PostgresRegistry. Running this again changes nothing.
-- Moments are milliseconds since 1970, by this database's clock. Texts compare byte for byte.

CREATE TABLE IF NOT EXISTS portcullis_sessions (
    sid          text COLLATE "C" PRIMARY KEY,
    tenant       text COLLATE "C" NOT NULL,
    user_id      text COLLATE "C" NOT NULL,
    auth_ms      bigint NOT NULL,
    created_ms   bigint NOT NULL,
    last_used_ms bigint NOT NULL,
    expires_ms   bigint NOT NULL,
    ended        text,
    ended_ms     bigint,
    token        text COLLATE "C" NOT NULL,
    data         text NOT NULL,
    CHECK ((ended IS NULL) = (ended_ms IS NULL))
)
-- A rotation changes no indexed column; with room on the page it is written next to the old row.
WITH (fillfactor = 80);

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
    kind    bigint NOT NULL, -- 0 everyone, 1 a tenant, 2 a user
    tenant  text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    at_ms   bigint NOT NULL,
    PRIMARY KEY (kind, tenant, user_id)
);

CREATE INDEX IF NOT EXISTS portcullis_cutoffs_at ON portcullis_cutoffs (at_ms);
