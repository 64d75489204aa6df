//! The means under test: what every other test relies on, each piece against a real server.

mod alloc;
mod http;
mod process;
mod proxy;
mod redis;
