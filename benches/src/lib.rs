//! What the programs of this package share: the rows, the servers behind them, and the means to measure them.

pub mod alloc;
pub mod client;
pub mod cpu;
pub mod in_process;
mod local;
pub mod ours;
pub mod peers;
mod raw;
pub mod redis_server;
pub mod rows;
pub mod serve;
pub mod stats;
