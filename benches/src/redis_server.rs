//! A `redis-server` of the run's own, on a free port, with nothing on disk.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::{Client, FromRedisValue, aio::MultiplexedConnection};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

pub struct RedisServer {
    child: Child,
    port: u16,
    connection: MultiplexedConnection,
}

impl RedisServer {
    pub async fn start() -> Self {
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
            let port = free.expect("a free port").port();
            let mut child = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("redis-server is installed");
            let client = Client::open(url(port)).expect("an address");
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if child.try_wait().is_ok_and(|status| status.is_some()) {
                    break; // somebody else took the port
                }
                // Fills and counts over a million keys take longer than the driver's half second.
                let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
                let made = client.get_multiplexed_async_connection_with_config(&config);
                if let Ok(connection) = made.await {
                    return Self {
                        child,
                        port,
                        connection,
                    };
                }
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("redis-server does not start");
    }

    pub fn url(&self) -> String {
        url(self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One command.
    pub async fn ask<T: FromRedisValue>(&self, args: &[&str]) -> T {
        let mut command = redis::cmd(args[0]);
        command.arg(&args[1..]);
        let answer = command.query_async(&mut self.connection.clone()).await;
        answer.unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    /// One line of `INFO`.
    pub async fn info(&self, field: &str) -> String {
        let text: String = self.ask(&["INFO"]).await;
        let found = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name == field).then(|| value.trim().to_owned())
        });
        found.unwrap_or_else(|| panic!("no {field} in INFO"))
    }

    pub async fn number(&self, field: &str) -> u64 {
        self.info(field).await.parse().expect("a number")
    }

    /// Forgets everything, and leaves `entries` revocations that nobody meets, so that no list is empty.
    pub async fn reset(&self, entries: usize) {
        let () = self.ask(&["FLUSHALL"]).await;
        let fill = "for i = 1, tonumber(ARGV[1]) do \
            redis.call('SET', string.format('jwt:blacklist:5f0c1d9a-7c1e-4b1e-9d52-%012d', i), '1', 'EX', 3600) end";
        let () = self.ask(&["EVAL", fill, "0", &entries.to_string()]).await;
    }

    /// What clients send while `work` runs: commands of their own, and commands that their scripts run.
    pub async fn watch(&self, work: impl Future<Output = ()>) -> Seen {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await;
        let mut socket = BufReader::new(socket.expect("the server"));
        socket.write_all(b"MONITOR\r\n").await.expect("sent");
        let mut line = String::new();
        socket.read_line(&mut line).await.expect("+OK");
        work.await;
        let end = "the end of what was watched";
        let () = self.ask(&["SETEX", end, "1", ""]).await;
        let mut seen = Seen::default();
        loop {
            line.clear();
            socket.read_line(&mut line).await.expect("a line");
            if line.contains(end) {
                return seen;
            }
            let script = line.contains(" lua] ");
            *(if script {
                &mut seen.inside
            } else {
                &mut seen.sent
            }) += 1;
        }
    }
}

/// Commands.
#[derive(Default)]
pub struct Seen {
    pub sent: u64,
    pub inside: u64,
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}
