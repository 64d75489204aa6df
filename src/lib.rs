//! Tower layers for sessions, revocable JWTs, CSRF protection and refresh-token rotation.
