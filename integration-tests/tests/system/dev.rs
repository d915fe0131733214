//! `tidegate dev` starts, says where, keeps what it has, and says clearly why it does not start.

use std::time::Duration;

use tidegate_integration_tests::{Database, Ended, Process, Suite, eventually, program, within};

const DEADLINE: Duration = Duration::from_secs(30);

fn dev(args: &[&str], env: &[(&str, &str)]) -> Process {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Process::start(&program("tidegate"), ["dev"].iter().chain(args), env)
}

/// It must end by itself, with one clear sentence on stderr and nothing on stdout.
async fn fault(process: Process, code: i32, words: &[&str]) {
    let Ended { code: ended, stdout, stderr } = process.ended(DEADLINE).await;
    assert_eq!((ended, stdout.as_str()), (Some(code), ""), "{stderr}");
    let sentence = stderr.trim();
    assert_eq!(sentence.lines().count(), 1, "more than one line: {stderr}");
    for word in words {
        assert!(sentence.contains(word), "`{word}` is not in: {sentence}");
    }
}

#[tokio::test]
async fn runs_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let args = ["--port", "0", "--data", data.to_str().unwrap()];
    let first = Suite::of_process(dev(&args, &[])).await;
    let handle = first.client().task("add").queue("kept").delay(&(20, 3)).await.unwrap();
    let id = handle.id().to_owned();
    first.stop().await;

    let second = Suite::of_process(dev(&args, &[])).await;
    let _worker = second.worker("kept");
    let client = second.client();
    let handle = client.handle(&id);
    assert_eq!(within("the result after the restart", DEADLINE, handle.result::<i64>()).await.unwrap(), 23);
    second.stop().await;
}

#[tokio::test]
async fn nothing_is_lost_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let args = ["--port", "0", "--data", data.to_str().unwrap()];
    let mut process = dev(&args, &[]);
    let line = process.line("listening on ", DEADLINE).await;
    let client = tidegate_sdk::Client::connect(line.trim_start_matches("listening on "), "default").unwrap();
    let params: Vec<_> = (0..500).map(|n| (n, n)).collect();
    let handles = client.task("add").queue("kept").delay_many(&params).await.unwrap();
    process.kill().await;

    let second = Suite::of_process(dev(&args, &[])).await;
    let _worker = second.worker("kept");
    let client = second.client();
    let handles: Vec<_> = handles.iter().map(|handle| client.handle(handle.id())).collect();
    let sums =
        within("all results", Duration::from_secs(60), tidegate_sdk::gather::<i64>(&handles)).await.unwrap();
    assert!(sums.into_iter().eq((0..500).map(|n| 2 * n)));
    second.stop().await;
}

#[tokio::test]
async fn data_goes_to_the_users_data_directory() {
    let home = tempfile::tempdir().unwrap();
    let home_text = home.path().to_str().unwrap();
    let suite = Suite::of_process(dev(&["--port", "0"], &[("HOME", home_text), ("XDG_DATA_HOME", "")])).await;
    assert!(home.path().join(".local/share/tidegate/tidegate.db").exists());
    suite.stop().await;
    let suite =
        Suite::of_process(dev(&["--port", "0"], &[("HOME", "/nowhere"), ("XDG_DATA_HOME", home_text)])).await;
    assert!(home.path().join("tidegate/tidegate.db").exists());
    suite.stop().await;
}

#[tokio::test]
async fn the_same_process_runs_on_postgres_and_redis() {
    let database = Database::create().await;
    let redis = tidegate_integration_tests::Redis::start().await;
    let args = ["--port", "0", "--postgres", database.url(), "--redis", &redis.url()];
    let suite = Suite::of_process(dev(&args, &[])).await;
    let _worker = suite.worker("real");
    let client = suite.client();
    let handle = client.task("add").queue("real").delay(&(1, 1)).await.unwrap();
    assert_eq!(within("the result", DEADLINE, handle.result::<i64>()).await.unwrap(), 2);
    assert_eq!(client.core().version().await.unwrap().store, "postgres");
    suite.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_a_clear_sentence() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    fault(dev(&["--port", &port, "--ephemeral"], &[]), 1, &[&port, "taken", "--port"]).await;
}

#[tokio::test]
async fn an_unreachable_database_is_a_clear_sentence() {
    let port = tidegate_integration_tests::free_port();
    let url = format!("postgres://someone:secret@127.0.0.1:{port}/db");
    fault(dev(&["--port", "0", "--postgres", &url], &[]), 1, &["Postgres", &port.to_string()]).await;
    let process = dev(&["--port", "0", "--postgres", &url], &[]);
    assert!(!process.ended(DEADLINE).await.stderr.contains("secret"), "no passwords in messages");
}

#[tokio::test]
async fn an_unreachable_redis_is_a_clear_sentence() {
    let port = tidegate_integration_tests::free_port();
    let url = format!("redis://127.0.0.1:{port}");
    fault(dev(&["--port", "0", "--ephemeral", "--redis", &url], &[]), 1, &["Redis", &port.to_string()]).await;
}

#[tokio::test]
async fn an_unusable_data_directory_is_a_clear_sentence() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("data");
    fault(
        dev(&["--port", "0", "--data", below.to_str().unwrap()], &[]),
        1,
        &[below.to_str().unwrap(), "--data"],
    )
    .await;
    // Something that is no database in its place.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("tidegate.db"),
        "this is no database, but long enough to look at it ".repeat(99),
    )
    .unwrap();
    fault(dev(&["--port", "0", "--data", folder.path().to_str().unwrap()], &[]), 1, &["tidegate.db"]).await;
}

#[tokio::test]
async fn a_data_directory_in_use_is_a_clear_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let first = Suite::of_process(dev(&["--port", "0", "--data", data], &[])).await;
    fault(dev(&["--port", "0", "--data", data], &[]), 1, &["another `tidegate dev`", data]).await;
    first.stop().await;
}

#[tokio::test]
async fn a_database_of_a_newer_schema_is_a_clear_sentence() {
    let database = Database::create().await;
    let args = ["--port", "0", "--postgres", database.url()];
    Suite::of_process(dev(&args, &[])).await.stop().await;
    database
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
             VALUES (99990101000000, 'of the future', now(), true, '\\x00', 0)",
        )
        .await;
    // It bears this version, until it says otherwise.
    Suite::of_process(dev(&args, &[])).await.stop().await;
    database.execute("UPDATE schema_floor SET floor = 99990101000000").await;
    fault(dev(&args, &[]), 1, &["newer"]).await;
}

#[tokio::test]
async fn ctrl_c_drains() {
    let process = dev(&["--port", "0", "--ephemeral"], &[]);
    process.line("listening on http://127.0.0.1:", DEADLINE).await;
    process.signal("INT");
    let ended = process.ended(DEADLINE).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
}

#[tokio::test]
async fn the_first_line_says_where_it_listens_and_it_is_healthy_then() {
    let process = dev(&["--port", "0", "--ephemeral"], &[]);
    let line = process.line("listening on ", DEADLINE).await;
    let address = line.strip_prefix("listening on http://").expect("the first line names the address");
    let ready = eventually("ready", DEADLINE, async || http_get(address, "/readyz").await.ok()).await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let metrics = http_get(address, "/metrics").await.unwrap();
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    process.stop().await;
}

/// The least of HTTP.
async fn http_get(address: &str, path: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
