//! A simulation of a Docker engine: the part of its API that the worker uses, on a Unix socket, with the states, conflicts
//! and errors of the real one. What the processes of containers do, the test does. It is no Docker: nothing is executed.

use std::{
    collections::BTreeMap,
    path::Path as FilePath,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post, put},
};
use futures::stream;
use serde_json::{Value, json};
use tokio::{net::UnixListener, sync::watch};

use crate::fake::soon;

type Params = Query<BTreeMap<String, String>>;

#[derive(Clone)]
pub struct Engine {
    state: Arc<Mutex<Objects>>,
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Clone, Default)]
struct Container {
    body: Value,
    state: &'static str,
    code: i64,
    is_oom: bool,
    archive: Bytes,
    lines: Vec<(u8, String)>,
    /// Ends when it is asked to.
    is_stubborn: bool,
}

#[derive(Default)]
struct Objects {
    by_name: BTreeMap<String, Container>,
    images: Vec<String>,
    /// What a pull ends with, and the login that it had.
    pull_error: Option<String>,
    /// Pulls do not come to their end.
    holds_pulls: bool,
    login: Option<String>,
    start_error: Option<(u16, String)>,
    is_away: bool,
    breaks: u64,
    n_lines: u64,
    calls: Vec<String>,
    is_stubborn: bool,
}

impl Engine {
    /// Listens on a socket, with the image `etl:1`.
    pub fn start(socket: &FilePath) -> Self {
        let engine = Self { state: Arc::default(), changed: Arc::new(watch::channel(0).0) };
        engine.lock().images.push("etl:1".into());
        let app = Router::new()
            .route("/version", get(version))
            .route("/containers/json", get(list))
            .route("/containers/create", post(create))
            .route("/containers/{name}", delete(remove))
            .route("/containers/{name}/json", get(inspect))
            .route("/containers/{name}/start", post(start))
            .route("/containers/{name}/wait", post(wait))
            .route("/containers/{name}/logs", get(logs))
            .route("/containers/{name}/stop", post(stop))
            .route("/containers/{name}/kill", post(kill))
            .route("/containers/{name}/rename", post(rename))
            .route("/containers/{name}/archive", put(archive))
            .route("/images/create", post(pull))
            .route("/images/{*name}", get(image))
            .with_state(engine.clone());
        // Clients name a version before each path.
        let versions = middleware::from_fn_with_state(engine.clone(), unless_away);
        let app = Router::new().nest("/{version}", app.clone()).merge(app).layer(versions);
        let listener = UnixListener::bind(socket).unwrap();
        tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, app).await });
        engine
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.state.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Objects) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.send_modify(|n| *n += 1);
        changed
    }

    async fn until<T>(&self, find: impl Fn(&Objects) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(found) = find(&self.lock()) {
                return found;
            }
            changed.changed().await.unwrap();
        }
    }

    /// The name of the container of a run, once it runs.
    pub async fn running(&self, run_id: &str) -> String {
        let find = |objects: &Objects| {
            let of_run = objects.by_name.iter().find(|(_, container)| {
                container.body["Labels"]["tidegate.dev/run-id"] == run_id && container.state == "running"
            });
            of_run.map(|(name, _)| name.clone())
        };
        soon(self.until(find)).await
    }

    pub async fn until_gone(&self, name: &str) {
        soon(self.until(|objects| (!objects.by_name.contains_key(name)).then_some(()))).await;
    }

    pub async fn until_there(&self, name: &str) {
        soon(self.until(|objects| objects.by_name.contains_key(name).then_some(()))).await;
    }

    pub async fn until_called(&self, call: &str, n: usize) {
        let n_calls = |objects: &Objects| objects.calls.iter().filter(|made| made.starts_with(call)).count();
        soon(self.until(|objects| (n_calls(objects) >= n).then_some(()))).await;
    }

    pub fn n_calls(&self, call: &str) -> usize {
        self.lock().calls.iter().filter(|made| made.starts_with(call)).count()
    }

    pub fn names(&self) -> Vec<String> {
        self.lock().by_name.keys().cloned().collect()
    }

    pub fn body(&self, name: &str) -> Value {
        self.lock().by_name[name].body.clone()
    }

    pub fn archive(&self, name: &str) -> Bytes {
        self.lock().by_name[name].archive.clone()
    }

    /// Its process ends.
    pub fn exit(&self, name: &str, code: i64, is_oom: bool) {
        self.change(|objects| {
            let container = objects.by_name.get_mut(name).unwrap();
            (container.state, container.code, container.is_oom) = ("exited", code, is_oom);
        });
    }

    pub fn write(&self, name: &str, stream: u8, line: &str) {
        self.change(|objects| {
            objects.n_lines += 1;
            // Whole seconds, as Podman gives them: several lines have the same.
            let line = format!("2026-01-01T00:00:{:02}Z {line}\n", objects.n_lines / 4);
            objects.by_name.get_mut(name).unwrap().lines.push((stream, line));
        });
    }

    /// As `docker rm --force` takes it away.
    pub fn remove(&self, name: &str) {
        self.change(|objects| objects.by_name.remove(name));
    }

    /// Takes a label from all containers, as if who has made them had not known of it.
    pub fn unlabel(&self, label: &str) {
        self.change(|objects| {
            for container in objects.by_name.values_mut() {
                container.body["Labels"].as_object_mut().unwrap().remove(label);
            }
        });
    }

    pub fn break_streams(&self) {
        self.change(|objects| objects.breaks += 1);
    }

    pub fn set_away(&self, is_away: bool) {
        self.change(|objects| {
            objects.is_away = is_away;
            objects.breaks += u64::from(is_away);
        });
    }

    pub fn set_stubborn(&self) {
        self.lock().is_stubborn = true;
    }

    pub fn refuse_pulls(&self, error: &str) {
        self.lock().pull_error = Some(error.to_owned());
    }

    pub fn hold_pulls(&self, holds_pulls: bool) {
        self.change(|objects| objects.holds_pulls = holds_pulls);
    }

    pub fn refuse_starts(&self, code: u16, error: &str) {
        self.lock().start_error = Some((code, error.to_owned()));
    }

    /// The login of the last pull, as it came.
    pub fn login(&self) -> Option<String> {
        self.lock().login.clone()
    }
}

fn error(code: u16, message: &str) -> Response {
    (StatusCode::from_u16(code).unwrap(), axum::Json(json!({"message": message}))).into_response()
}

fn no_such(name: &str) -> Response {
    error(404, &format!("No such container: {name}"))
}

async fn unless_away(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix("/v").and_then(|path| path.split_once('/')).map_or(path, |(_, path)| path);
    let call = format!("{} {}", request.method(), path.trim_start_matches('/'));
    let is_away = engine.change(|objects| {
        objects.calls.push(call);
        objects.is_away
    });
    if is_away {
        return error(503, "the engine is starting");
    }
    next.run(request).await
}

async fn version() -> Response {
    axum::Json(json!({"ApiVersion": "1.47", "MinAPIVersion": "1.24", "Version": "27.0"})).into_response()
}

async fn list(State(engine): State<Engine>, Query(params): Params) -> Response {
    let filters: Value = serde_json::from_str(params.get("filters").map_or("{}", String::as_str)).unwrap();
    let wanted: Vec<_> = filters["label"].as_array().cloned().unwrap_or_default();
    let is_wanted = |container: &Container| {
        wanted.iter().all(|label| {
            let (name, value) = label.as_str().unwrap().split_once('=').unwrap();
            container.body["Labels"][name] == value
        })
    };
    let objects = engine.lock();
    let found = objects.by_name.iter().filter(|(_, container)| is_wanted(container));
    let listed = found.map(|(name, container)| {
        json!({"Id": name, "Names": [format!("/{name}")], "Labels": container.body["Labels"], "State": container.state})
    });
    axum::Json(listed.collect::<Vec<_>>()).into_response()
}

async fn create(
    State(engine): State<Engine>,
    Query(params): Params,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    let name = params["name"].clone();
    engine.change(|objects| {
        if objects.by_name.contains_key(&name) {
            return error(409, &format!("Conflict. The container name \"/{name}\" is already in use"));
        }
        let image = body["Image"].as_str().unwrap_or_default().to_owned();
        if !objects.images.contains(&image) {
            return error(404, &format!("No such image: {image}"));
        }
        let is_stubborn = objects.is_stubborn;
        objects
            .by_name
            .insert(name.clone(), Container { body, state: "created", is_stubborn, ..Default::default() });
        (StatusCode::CREATED, axum::Json(json!({"Id": name, "Warnings": []}))).into_response()
    })
}

async fn inspect(State(engine): State<Engine>, Path(parts): Path<Parts>) -> Response {
    let objects = engine.lock();
    let Some(container) = objects.by_name.get(&parts.name) else { return no_such(&parts.name) };
    let finished = if container.state == "exited" { "2026-01-01T00:00:10Z" } else { "0001-01-01T00:00:00Z" };
    let state = json!({
        "Status": container.state, "Running": container.state == "running", "ExitCode": container.code,
        "OOMKilled": container.is_oom, "Error": "", "FinishedAt": finished,
    });
    let host = json!({"Memory": container.body["HostConfig"]["Memory"].as_i64().unwrap_or(0)});
    axum::Json(json!({"Id": parts.name, "State": state, "HostConfig": host})).into_response()
}

/// The parameters of a path, of which the version may be one.
#[derive(serde::Deserialize)]
struct Parts {
    name: String,
}

async fn start(State(engine): State<Engine>, Path(parts): Path<Parts>) -> Response {
    engine.change(|objects| {
        if let Some((code, message)) = objects.start_error.take() {
            return error(code, &message);
        }
        let Some(container) = objects.by_name.get_mut(&parts.name) else { return no_such(&parts.name) };
        if container.state == "running" {
            return StatusCode::NOT_MODIFIED.into_response();
        }
        container.state = "running";
        StatusCode::NO_CONTENT.into_response()
    })
}

async fn wait(State(engine): State<Engine>, Path(parts): Path<Parts>) -> Response {
    let breaks = engine.lock().breaks;
    if !engine.lock().by_name.contains_key(&parts.name) {
        return no_such(&parts.name);
    }
    let ended = stream::once(async move {
        engine
            .until(|objects| {
                if objects.breaks != breaks {
                    return Some(String::new());
                }
                let Some(container) = objects.by_name.get(&parts.name) else {
                    return Some(json!({"StatusCode": 137}).to_string());
                };
                (container.state == "exited").then(|| json!({"StatusCode": container.code}).to_string())
            })
            .await
    });
    Body::from_stream(futures::StreamExt::map(ended, Ok::<_, std::io::Error>)).into_response()
}

async fn logs(State(engine): State<Engine>, Path(parts): Path<Parts>, Query(params): Params) -> Response {
    assert_eq!(params.get("timestamps").map(String::as_str), Some("true"));
    let since: i64 = params.get("since").and_then(|since| since.parse().ok()).unwrap_or(0);
    let (breaks, changed) = (engine.lock().breaks, engine.changed.subscribe());
    if !engine.lock().by_name.contains_key(&parts.name) {
        return no_such(&parts.name);
    }
    let lines = stream::unfold((engine, changed, 0), move |(engine, mut changed, n_sent)| {
        let name = parts.name.clone();
        async move {
            loop {
                {
                    let objects = engine.lock();
                    let container = objects.by_name.get(&name).cloned()?;
                    let is_broken = objects.breaks != breaks;
                    drop(objects);
                    let is_wanted = |line: &str| {
                        let written: jiff::Timestamp = line.split(' ').next().unwrap().parse().unwrap();
                        written.as_second() >= since
                    };
                    let wanted: Vec<_> = container.lines.iter().filter(|(_, line)| is_wanted(line)).collect();
                    if wanted.len() > n_sent {
                        let sent: Vec<u8> = wanted[n_sent..]
                            .iter()
                            .flat_map(|(stream, line)| framed(*stream, line))
                            .collect();
                        return Some((Ok::<_, std::io::Error>(sent), (engine, changed, wanted.len())));
                    }
                    if container.state != "running" || is_broken {
                        return None;
                    }
                }
                if changed.changed().await.is_err() {
                    return None;
                }
            }
        }
    });
    let content_type = [("content-type", "application/vnd.docker.multiplexed-stream")];
    (content_type, Body::from_stream(lines)).into_response()
}

/// As the streams of a container come through one connection.
fn framed(stream: u8, line: &str) -> Vec<u8> {
    let len = u32::try_from(line.len()).unwrap().to_be_bytes();
    [&[stream, 0, 0, 0], len.as_slice(), line.as_bytes()].concat()
}

async fn stop(State(engine): State<Engine>, Path(parts): Path<Parts>, Query(params): Params) -> Response {
    engine.change(|objects| {
        objects.calls.push(format!("stop within {}", params["t"]));
        let Some(container) = objects.by_name.get_mut(&parts.name) else { return no_such(&parts.name) };
        // One that does not listen is killed when its time is over: here, at once.
        (container.state, container.code) = ("exited", if container.is_stubborn { 137 } else { 143 });
        StatusCode::NO_CONTENT.into_response()
    })
}

async fn kill(State(engine): State<Engine>, Path(parts): Path<Parts>) -> Response {
    engine.change(|objects| {
        let Some(container) = objects.by_name.get_mut(&parts.name) else { return no_such(&parts.name) };
        if container.state != "running" {
            return error(409, &format!("container {} is not running", parts.name));
        }
        (container.state, container.code) = ("exited", 137);
        StatusCode::NO_CONTENT.into_response()
    })
}

async fn remove(State(engine): State<Engine>, Path(parts): Path<Parts>, Query(params): Params) -> Response {
    engine.change(|objects| {
        let Some(container) = objects.by_name.get(&parts.name) else { return no_such(&parts.name) };
        if container.state == "running" && params.get("force").map(String::as_str) != Some("true") {
            return error(409, "cannot remove a running container");
        }
        objects.by_name.remove(&parts.name);
        StatusCode::NO_CONTENT.into_response()
    })
}

async fn rename(State(engine): State<Engine>, Path(parts): Path<Parts>, Query(params): Params) -> Response {
    engine.change(|objects| {
        let Some(container) = objects.by_name.remove(&parts.name) else { return no_such(&parts.name) };
        objects.by_name.insert(params["name"].clone(), container);
        StatusCode::NO_CONTENT.into_response()
    })
}

async fn archive(State(engine): State<Engine>, Path(parts): Path<Parts>, body: Bytes) -> Response {
    engine.change(|objects| {
        let Some(container) = objects.by_name.get_mut(&parts.name) else { return no_such(&parts.name) };
        container.archive = body;
        StatusCode::OK.into_response()
    })
}

async fn pull(State(engine): State<Engine>, headers: HeaderMap, Query(params): Params) -> Response {
    engine.until(|objects| (!objects.holds_pulls).then_some(())).await;
    engine.change(|objects| {
        objects.login = headers.get("x-registry-auth").map(|login| login.to_str().unwrap().to_owned());
        let events = match &objects.pull_error {
            Some(error) => json!({"errorDetail": {"message": error}, "error": error}),
            None => {
                objects.images.push(format!("{}:{}", params["fromImage"], params["tag"]));
                json!({"status": "Pull complete"})
            }
        };
        format!("{}\n{events}\n", json!({"status": "Pulling"})).into_response()
    })
}

async fn image(State(engine): State<Engine>, Path(parts): Path<Parts>) -> Response {
    let name = parts.name.trim_end_matches("/json").to_owned();
    if engine.lock().images.contains(&name) {
        return axum::Json(json!({"Id": name})).into_response();
    }
    error(404, &format!("No such image: {name}"))
}
