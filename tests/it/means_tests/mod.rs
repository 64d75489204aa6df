//! The means under test: what every other test relies on, each piece against a real server.

mod proxy;
mod redis;
