use std::time::{Duration, Instant};

use redis::{Value, aio::MultiplexedConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::means::{
    proxy::{Proxy, mentions, named},
    redis::RedisServer,
    wait,
};

async fn pair() -> (RedisServer, Proxy) {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.port());
    (server, proxy)
}

async fn connect(url: &str) -> MultiplexedConnection {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(url).unwrap();
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    wait::within("a connection", connecting).await.unwrap()
}

async fn get(connection: &MultiplexedConnection, key: &str) -> redis::RedisResult<Option<String>> {
    redis::cmd("GET")
        .arg(key)
        .query_async(&mut connection.clone())
        .await
}

async fn set(connection: &MultiplexedConnection, key: &str, value: &str) -> redis::RedisResult<()> {
    redis::cmd("SET")
        .arg(key)
        .arg(value)
        .query_async(&mut connection.clone())
        .await
}

#[tokio::test]
async fn one_turn_for_each_command_that_waits_for_the_one_before() {
    let (_server, proxy) = pair().await;
    let one = connect(&proxy.url()).await;
    let two = connect(&proxy.url()).await;
    assert_eq!((proxy.turns(), proxy.connections()), (0, 2));
    for round in 1..=200 {
        set(&one, "a", "1").await.unwrap();
        assert_eq!(get(&two, "a").await.unwrap().as_deref(), Some("1"));
        assert_eq!(proxy.turns(), 2 * round);
    }
    assert_eq!(proxy.counts()["GET"], 200);
    assert_eq!(
        proxy.commands()[0],
        [b"SET".to_vec(), b"a".to_vec(), b"1".to_vec()]
    );
    assert!(proxy.log().iter().any(|command| command.is_housekeeping()));
    proxy.reset_counts();
    assert_eq!(
        (proxy.turns(), proxy.commands().len(), proxy.connections()),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn one_turn_for_a_pipeline_of_any_size() {
    let (_server, proxy) = pair().await;
    let mut connection = connect(&proxy.url()).await;
    for (commands, size) in [(3, 1), (1_000, 10), (40, 100_000)] {
        let mut pipeline = redis::pipe();
        for _ in 0..commands {
            pipeline.cmd("ECHO").arg("x".repeat(size));
        }
        let (turns, replies) = proxy
            .turns_of(pipeline.query_async::<Vec<Value>>(&mut connection))
            .await;
        assert_eq!((turns, replies.unwrap().len()), (1, commands));
        assert_eq!(proxy.counts()["ECHO"], commands);
    }
}

#[tokio::test]
async fn one_turn_for_a_pipeline_that_is_answered_while_it_still_arrives() {
    let (_server, proxy) = pair().await;
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port()))
        .await
        .unwrap();
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    let mut answer = async |turns: usize, sent: &[u8]| {
        stream.write_all(sent).await.unwrap();
        let mut null = [0; 5];
        let reading = stream.read_exact(&mut null);
        wait::within("a reply", reading).await.unwrap();
        assert_eq!((&null, proxy.turns()), (b"$-1\r\n", turns));
    };
    answer(1, &[&get[..], &get[..9]].concat()).await;
    answer(1, &get[9..]).await;
    answer(2, get).await;
}

#[tokio::test]
async fn one_turn_for_what_overlaps() {
    let (_server, proxy) = pair().await;
    let one = connect(&proxy.url()).await;
    let two = connect(&proxy.url()).await;
    proxy.delay(Duration::from_millis(30));
    let (turns, _) = proxy
        .turns_of(async { tokio::join!(get(&one, "a"), get(&one, "b"), get(&two, "c")) })
        .await;
    assert_eq!((turns, proxy.commands().len()), (1, 3));
}

#[tokio::test]
async fn one_turn_for_a_script_and_none_for_loading_it() {
    let (_server, proxy) = pair().await;
    let mut connection = connect(&proxy.url()).await;
    let script =
        redis::Script::new("redis.call('SET', KEYS[1], '1') return redis.call('GET', KEYS[1])");
    script
        .prepare_invoke()
        .load_async(&mut connection)
        .await
        .unwrap();
    redis::cmd("PING")
        .query_async::<()>(&mut connection)
        .await
        .unwrap();
    assert_eq!(proxy.turns(), 0);
    let answer: String = script.key("a").invoke_async(&mut connection).await.unwrap();
    assert_eq!((answer.as_str(), proxy.turns()), ("1", 1));
    let label = format!("EVALSHA {}", script.get_hash());
    assert_eq!((proxy.counts()[&label], proxy.counts()["SCRIPT"]), (1, 1));
}

#[tokio::test]
async fn pushes_are_passed_on_and_are_no_replies() {
    let (server, proxy) = pair().await;
    let (sender, mut pushes) = tokio::sync::mpsc::unbounded_channel();
    let config = redis::AsyncConnectionConfig::new().set_push_sender(sender);
    let client = redis::Client::open(format!("{}/?protocol=resp3", proxy.url())).unwrap();
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap();
    let tracking = redis::cmd("CLIENT")
        .arg(&["TRACKING", "ON", "BCAST", "PREFIX", "a"])
        .clone();
    tracking.query_async::<()>(&mut connection).await.unwrap();
    connection.subscribe("news").await.unwrap();
    proxy.reset_counts();
    for round in 1..=50 {
        server.cli(&["SET", "a", "1"]).await;
        server.cli(&["PUBLISH", "news", "hear"]).await;
        get(&connection, "b").await.unwrap();
        assert_eq!(proxy.turns(), round);
    }
    let mut kinds = Vec::new();
    while let Ok(push) = pushes.try_recv() {
        kinds.push(push.kind);
    }
    let count = |wanted| kinds.iter().filter(|kind| **kind == wanted).count();
    assert_eq!(
        (
            count(redis::PushKind::Invalidate),
            count(redis::PushKind::Message)
        ),
        (50, 50)
    );
    assert!(proxy.is_idle());
}

#[tokio::test]
async fn a_push_settles_no_reply_that_is_owed() {
    let (server, proxy) = pair().await;
    let (sender, mut pushes) = tokio::sync::mpsc::unbounded_channel();
    let config = redis::AsyncConnectionConfig::new()
        .set_push_sender(sender)
        .set_response_timeout(None);
    let client = redis::Client::open(format!("{}/?protocol=resp3", proxy.url())).unwrap();
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap();
    connection.subscribe("news").await.unwrap();
    let other = connect(&proxy.url()).await;
    proxy.reset_counts();
    let blocked = tokio::spawn(async move {
        let pop = redis::cmd("BLPOP").arg("list").arg(0).clone();
        pop.query_async::<Value>(&mut connection).await
    });
    wait::until("the blocked client", async || {
        (server.info("blocked_clients").await == 1).then_some(())
    })
    .await;
    server.cli(&["PUBLISH", "news", "hear"]).await;
    while wait::within("a push", pushes.recv()).await.unwrap().kind != redis::PushKind::Message {}
    get(&other, "a").await.unwrap();
    assert_eq!((proxy.turns(), proxy.is_idle()), (1, false));
    server.cli(&["LPUSH", "list", "1"]).await;
    wait::within("the blocked command", blocked)
        .await
        .unwrap()
        .unwrap();
    assert!(proxy.is_idle());
}

#[tokio::test]
async fn a_delay_is_felt_both_ways_and_once_for_all_that_is_sent_together() {
    let (_server, proxy) = pair().await;
    let connection = connect(&proxy.url()).await;
    proxy.delay(Duration::from_millis(20));
    let start = Instant::now();
    let all: Vec<_> = (0..10).map(|_| get(&connection, "a")).collect();
    for one in all {
        // Polled one after the other: ten turns of two delays each.
        one.await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(400));
    let mut pipeline = redis::pipe();
    for _ in 0..10 {
        pipeline.cmd("GET").arg("a");
    }
    let start = Instant::now();
    pipeline
        .query_async::<Vec<Value>>(&mut connection.clone())
        .await
        .unwrap();
    let took = start.elapsed();
    assert!(
        (Duration::from_millis(40)..Duration::from_millis(300)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_blackhole_swallows_old_and_new_connections_until_it_is_mended() {
    let (server, proxy) = pair().await;
    let connection = connect(&proxy.url()).await;
    proxy.blackhole(true);
    let mut asked = tokio::spawn(async move { set(&connection, "a", "1").await });
    let connecting = {
        let url = proxy.url();
        tokio::spawn(async move { get(&connect(&url).await, "a").await })
    };
    wait::until_true("the second connection", || proxy.connections() == 2).await;
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut asked)
            .await
            .is_err()
    );
    assert_eq!(server.ask::<Option<String>>(&["GET", "a"]).await, None);
    assert!(!connecting.is_finished());
    proxy.blackhole(false);
    wait::within("the reply", asked).await.unwrap().unwrap();
    wait::within("the reply", connecting)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn connections_are_reset_and_refused() {
    let (_server, proxy) = pair().await;
    let connection = connect(&proxy.url()).await;
    let raw = TcpStream::connect(("127.0.0.1", proxy.port()))
        .await
        .unwrap();
    wait::until_true("both connections", || proxy.open_connections() == 2).await;
    proxy.reset_all().await;
    assert_eq!(proxy.open_connections(), 0);
    raw.readable().await.unwrap();
    assert_eq!(
        raw.try_read(&mut [0]).unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert!(get(&connection, "a").await.is_err());
    proxy.refuse(true);
    let client = redis::Client::open(proxy.url()).unwrap();
    assert!(client.get_multiplexed_async_connection().await.is_err());
    proxy.refuse(false);
    assert!(get(&connect(&proxy.url()).await, "a").await.is_ok());
    assert!(proxy.is_idle());
}

#[tokio::test]
async fn a_held_command_holds_what_its_connection_sends_later_and_nobody_else() {
    let (server, proxy) = pair().await;
    let one = connect(&proxy.url()).await;
    let two = connect(&proxy.url()).await;
    let paused = proxy.pause_before(mentions("held"));
    set(&one, "free", "1").await.unwrap();
    let held = {
        let one = one.clone();
        tokio::spawn(async move { set(&one, "held", "1").await })
    };
    paused.reached().await;
    let later = tokio::spawn(async move { set(&one, "held", "2").await });
    set(&two, "other", "1").await.unwrap();
    wait::until_true("the later command", || proxy.counts()["SET"] == 4).await;
    assert_eq!(server.keys("*").await, ["free", "other"]);
    assert!(!held.is_finished());
    paused.resume();
    wait::within("the held command", held)
        .await
        .unwrap()
        .unwrap();
    wait::within("the later command", later)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(server.ask::<String>(&["GET", "held"]).await, "2");
}

#[tokio::test]
async fn a_held_reply_comes_after_the_command_took_effect() {
    let (server, proxy) = pair().await;
    let connection = connect(&proxy.url()).await;
    let paused = proxy.pause_reply(named("set"));
    let held = {
        let one = connection.clone();
        tokio::spawn(async move { set(&one, "a", "1").await })
    };
    paused.reached().await;
    assert_eq!(server.ask::<String>(&["GET", "a"]).await, "1");
    let later = tokio::spawn(async move { set(&connection, "b", "1").await });
    wait::until("the later command to be executed", async || {
        server.ask::<Option<i32>>(&["GET", "b"]).await
    })
    .await;
    assert!(!held.is_finished() && !later.is_finished());
    drop(paused);
    wait::within("the held reply", held).await.unwrap().unwrap();
    wait::within("the later reply", later)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_lost_reply_ends_the_connection_after_the_command_took_effect() {
    let (server, proxy) = pair().await;
    let connection = connect(&proxy.url()).await;
    let lost = proxy.drop_reply(named("INCR"));
    let increment = async |connection: &MultiplexedConnection| {
        let increment = redis::cmd("INCR").arg("a").clone();
        increment.query_async::<i32>(&mut connection.clone()).await
    };
    assert!(
        wait::within("an error", increment(&connection))
            .await
            .is_err()
    );
    assert!(lost.is_reached());
    assert_eq!(server.ask::<String>(&["GET", "a"]).await, "1");
    let again = connect(&proxy.url()).await;
    // The lost reply is owed to nobody any more.
    let (turns, sum) = proxy.turns_of(increment(&again)).await;
    assert_eq!((turns, sum.unwrap()), (1, 2));
}

#[tokio::test]
async fn a_trap_that_is_let_go_before_it_caught_anything_catches_nothing() {
    let (_server, proxy) = pair().await;
    let connection = connect(&proxy.url()).await;
    proxy.pause_before(named("GET")).resume();
    proxy.drop_reply(named("GET")).resume();
    wait::within("an untouched command", get(&connection, "a"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dead_server_ends_the_connections_through_the_proxy() {
    let (mut server, proxy) = pair().await;
    let connection = connect(&proxy.url()).await;
    server.kill();
    assert!(
        wait::within("an error", get(&connection, "a"))
            .await
            .is_err()
    );
    let client = redis::Client::open(proxy.url()).unwrap();
    assert!(client.get_multiplexed_async_connection().await.is_err());
    server.restart().await;
    assert!(get(&connect(&proxy.url()).await, "a").await.is_ok());
}
