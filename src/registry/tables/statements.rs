//! The statements, written once. What the databases write differently stands in braces.

use super::super::truth::TOLD_AGAIN_MS;

/// What the databases write differently.
#[derive(Debug)]
pub(super) struct Dialect {
    /// Milliseconds since 1970, the same within a statement.
    pub(super) now: &'static str,
    /// The larger of its arguments.
    pub(super) greatest: &'static str,
}

/// The text of every statement.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) find: String,
    pub(super) list: String,
    pub(super) touch: String,
    pub(super) rotate: String,
    pub(super) revoke_sid: String,
    pub(super) revoke_one: String,
    pub(super) revoke_others: String,
    pub(super) ended_lately: String,
    pub(super) revoke_all: String,
    pub(super) auth_start: String,
    pub(super) raise_cutoff: String,
    pub(super) note_cutoff: String,
    pub(super) recent_cutoffs: String,
    pub(super) recently_ended: String,
    pub(super) look: String,
    pub(super) active: String,
    pub(super) evict: String,
    pub(super) insert: String,
    pub(super) evicted: String,
    pub(super) page: String,
    pub(super) sweep: String,
}

const COLUMNS: &str = "s.sid, s.tenant, s.user_id, s.auth_ms, s.created_ms, s.last_used_ms, s.expires_ms, s.ended, \
     s.token, s.data";

/// The largest cutoff that applies; each branch is one look-up in the primary key.
const CUTOFF: &str = "(SELECT max(c.at_ms) FROM portcullis_cutoffs c \
     WHERE (c.kind = 0 AND c.tenant = '' AND c.user_id = '') \
     OR (c.kind = 1 AND c.tenant = {tenant} AND c.user_id = '') \
     OR (c.kind = 2 AND c.tenant = {tenant} AND c.user_id = {user}))";

const ACTIVE: &str =
    "s.ended_ms IS NULL AND s.expires_ms > {now} AND s.auth_ms > coalesce({cutoff}, -1)";

const REVOKE: &str =
    "UPDATE portcullis_sessions SET ended = $1, ended_ms = {now} WHERE ended_ms IS NULL AND ";

/// One more than any cutoff: one look-up in the index of their moments.
const AFTER_CUTOFFS: &str = "coalesce((SELECT max(at_ms) FROM portcullis_cutoffs), 0) + 1";

impl Statements {
    pub(super) fn new(dialect: &Dialect) -> Self {
        let text = |template: &str| dialect.fill(template);
        let revoke = |whose: &str| text(&format!("{REVOKE}{whose} RETURNING sid"));
        Self {
            find: text(
                "SELECT {columns}, {now}, {cutoff} FROM portcullis_sessions s WHERE s.sid = $1",
            ),
            list: text(
                "SELECT {columns} FROM portcullis_sessions s \
                 WHERE s.tenant = $1 AND s.user_id = $2 AND {active} ORDER BY s.created_ms, s.sid",
            ),
            touch: text(
                "UPDATE portcullis_sessions SET last_used_ms = {greatest}(last_used_ms, {now}) \
                 WHERE sid = $1 AND ended_ms IS NULL",
            ),
            rotate: text(
                "UPDATE portcullis_sessions AS s SET token = $3, data = $4, expires_ms = {now} + $5, \
                 last_used_ms = {greatest}(s.last_used_ms, {now}) \
                 WHERE s.sid = $1 AND s.token = $2 AND {active} RETURNING sid",
            ),
            revoke_sid: revoke("sid = $2"),
            revoke_one: revoke("tenant = $2 AND user_id = $3 AND sid = $4"),
            revoke_others: revoke("tenant = $2 AND user_id = $3 AND sid <> $4"),
            ended_lately: text(
                "SELECT sid FROM portcullis_sessions \
                 WHERE tenant = $1 AND user_id = $2 AND sid <> $3 AND ended_ms >= {now} - {told again}",
            ),
            revoke_all: revoke("tenant = $2 AND user_id = $3"),
            // The clock is not asked: one that is set back before the cutoff would let the login through.
            auth_start: text("SELECT {after cutoffs}"),
            raise_cutoff: text(
                "INSERT INTO portcullis_cutoffs AS c (kind, tenant, user_id, at_ms) \
                 SELECT $1, $2, $3, \
                 {greatest}({now}, {after cutoffs}, \
                 coalesce((SELECT max(auth_ms) FROM portcullis_sessions), 0)) \
                 WHERE true \
                 ON CONFLICT (kind, tenant, user_id) \
                 DO UPDATE SET at_ms = {greatest}(c.at_ms + 1, excluded.at_ms) RETURNING at_ms",
            ),
            note_cutoff: text(
                "INSERT INTO portcullis_cutoffs AS c (kind, tenant, user_id, at_ms) \
                 VALUES ($1, $2, $3, $4) ON CONFLICT (kind, tenant, user_id) \
                 DO UPDATE SET at_ms = {greatest}(c.at_ms, excluded.at_ms) RETURNING at_ms",
            ),
            recent_cutoffs: text(
                "SELECT kind, tenant, user_id, at_ms FROM portcullis_cutoffs WHERE at_ms >= {now} - $1",
            ),
            recently_ended: text(
                "SELECT sid FROM portcullis_sessions WHERE ended_ms >= {now} - $1",
            ),
            // One row, also when there is no session of this sid.
            look: text(
                "SELECT {now}, {cutoff of $2 $3}, e.tenant, e.user_id, e.token, e.auth_ms, e.created_ms \
                 FROM (SELECT 1) AS one LEFT JOIN portcullis_sessions e ON e.sid = $1",
            ),
            active: text(
                "SELECT s.sid FROM portcullis_sessions s \
                 WHERE s.tenant = $1 AND s.user_id = $2 AND {active} ORDER BY s.created_ms, s.sid",
            ),
            evict: text(
                "UPDATE portcullis_sessions SET ended = $1, ended_ms = $2 \
                 WHERE sid = $3 AND ended_ms IS NULL",
            ),
            insert: text(
                "INSERT INTO portcullis_sessions (sid, tenant, user_id, auth_ms, created_ms, last_used_ms, \
                 expires_ms, token, data) VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8)",
            ),
            evicted: text(
                "SELECT sid FROM portcullis_sessions \
                 WHERE ended_ms = $1 AND ended = $2 AND tenant = $3 AND user_id = $4 ORDER BY created_ms, sid",
            ),
            page: text(
                "SELECT max(sid) FROM (SELECT sid FROM portcullis_sessions \
                 WHERE sid > $1 ORDER BY sid LIMIT 1000) AS page",
            ),
            sweep: text(
                "DELETE FROM portcullis_sessions WHERE sid > $1 AND sid <= $2 \
                 AND (ended_ms < {now} - $3 OR expires_ms < {now} - $3) RETURNING sid",
            ),
        }
    }
}

impl Dialect {
    fn fill(&self, template: &str) -> String {
        let of = |tenant, user| CUTOFF.replace("{tenant}", tenant).replace("{user}", user);
        template
            .replace("{columns}", COLUMNS)
            .replace("{active}", ACTIVE)
            .replace("{after cutoffs}", AFTER_CUTOFFS)
            .replace("{cutoff}", &of("s.tenant", "s.user_id"))
            .replace("{cutoff of $2 $3}", &of("$2", "$3"))
            .replace("{told again}", &TOLD_AGAIN_MS.to_string())
            .replace("{greatest}", self.greatest)
            .replace("{now}", self.now)
    }
}
