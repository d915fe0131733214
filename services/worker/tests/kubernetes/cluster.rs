//! A simulation of a Kubernetes cluster: an API server over HTTP that keeps Jobs and pods, lists and watches them with
//! resource versions, refuses conflicts, expires versions (410), and streams lines of pods. What node, scheduler and the
//! controller of Jobs would do, the test does. It is no Kubernetes: it knows what the worker asks for, and nothing else.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Query, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::stream;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::fake::soon;

type Params = Query<BTreeMap<String, String>>;

#[derive(Clone)]
pub struct Cluster {
    pub address: String,
    state: Arc<Mutex<Objects>>,
    /// Grows with each change, for those who wait for one.
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Objects {
    version: u64,
    /// Versions below are expired.
    oldest: u64,
    by_key: BTreeMap<(Kind, String), Value>,
    history: Vec<(u64, Kind, &'static str, Value)>,
    /// Streams that were opened before it grew have ended.
    breaks: u64,
    /// Streams of lines that were opened before it grew say nothing more, and do not end.
    stalls: u64,
    is_away: bool,
    /// Whoever asks for one Job gets no answer.
    holds_gets: bool,
    /// How the next creations are answered, though the first of the pair says whether they are carried out.
    answers: Vec<(bool, u16, String)>,
    lines: BTreeMap<String, Vec<String>>,
    n_lines: u64,
    calls: Vec<String>,
    /// Whether pods end when they are asked to.
    is_stubborn: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Job,
    Pod,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Job => "Job",
            Self::Pod => "Pod",
        }
    }
}

impl Objects {
    fn put(&mut self, kind: Kind, r#type: &'static str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let name = name_of(&object);
        if r#type == "DELETED" {
            self.by_key.remove(&(kind, name));
        } else {
            self.by_key.insert((kind, name), object.clone());
        }
        self.history.push((self.version, kind, r#type, object));
    }

    fn of(&self, kind: Kind) -> Vec<Value> {
        self.by_key.iter().filter(|((of, _), _)| *of == kind).map(|(_, object)| object.clone()).collect()
    }

    fn get(&self, kind: Kind, name: &str) -> Option<Value> {
        self.by_key.get(&(kind, name.to_owned())).cloned()
    }

    /// What the garbage collector and the node do: a pod that is to end ends.
    fn end_pod(&mut self, name: &str, grace: u64) {
        let Some(mut pod) = self.get(Kind::Pod, name) else { return };
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        let state = &pod["status"]["containerStatuses"][0]["state"];
        let runs = !state["running"].is_null();
        if runs && (grace <= 1 || !self.is_stubborn) {
            let code = if grace <= 1 { 137 } else { 143 };
            pod["status"] = ended(code, "Error");
        } else if runs {
            return self.put(Kind::Pod, "MODIFIED", pod);
        }
        self.put(Kind::Pod, "MODIFIED", pod.clone());
        self.put(Kind::Pod, "DELETED", pod);
    }
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn container(state: &Value) -> Value {
    json!([{"name": "job", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
}

fn ended(code: i32, reason: &str) -> Value {
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let state = json!({"terminated": {"exitCode": code, "reason": reason}});
    json!({"phase": phase, "containerStatuses": container(&state)})
}

impl Cluster {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let cluster = Self { address, state: Arc::default(), changed: Arc::new(watch::channel(0).0) };
        let jobs = "/apis/batch/v1/namespaces/{namespace}/jobs";
        let pods = "/api/v1/namespaces/{namespace}/pods";
        let app = Router::new()
            .route(jobs, get(list_jobs).post(create_job))
            .route(&format!("{jobs}/{{name}}"), get(get_job).patch(patch_job).delete(delete_job))
            .route(pods, get(list_pods))
            .route(&format!("{pods}/{{name}}"), axum::routing::delete(delete_pod))
            .route(&format!("{pods}/{{name}}/log"), get(lines))
            .layer(middleware::from_fn_with_state(cluster.clone(), unless_away))
            .with_state(cluster.clone());
        tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, app).await });
        cluster
    }

    /// A kubeconfig that names it.
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "sim",
            "clusters": [{"name": "sim", "cluster": {"server": self.address}}],
            "users": [{"name": "sim", "user": {}}],
            "contexts": [{"name": "sim", "context": {"cluster": "sim", "user": "sim", "namespace": "flows"}}],
        })
        .to_string()
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.state.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Objects) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changed.send_modify(|n| *n += 1);
        changed
    }

    /// Waits until something can be found.
    async fn until<T>(&self, find: impl Fn(&Objects) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                if let Some(found) = find(&self.lock()) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        soon(found).await
    }

    /// The name of the pod that the Job of a run has.
    pub async fn pod(&self, run_id: &str) -> String {
        let is_of_run = |pod: &Value| pod["metadata"]["labels"]["tidegate.dev/run-id"] == run_id;
        self.until(|objects| objects.of(Kind::Pod).iter().find(|pod| is_of_run(pod)).map(name_of)).await
    }

    pub async fn until_gone(&self, pod: &str) {
        self.until(|objects| objects.get(Kind::Pod, pod).is_none().then_some(())).await;
    }

    pub async fn until_no_job(&self) {
        self.until(|objects| objects.of(Kind::Job).is_empty().then_some(())).await;
    }

    pub async fn until_done(&self) -> Value {
        let is_done = |job: &Value| job["metadata"]["labels"]["tidegate.dev/done"] == "true";
        self.until(|objects| objects.of(Kind::Job).into_iter().find(is_done)).await
    }

    pub fn jobs(&self) -> Vec<Value> {
        self.lock().of(Kind::Job)
    }

    pub fn pod_spec(&self, pod: &str) -> Value {
        self.lock().get(Kind::Pod, pod).unwrap()["spec"].clone()
    }

    /// How often a call was made, such as `POST jobs`.
    pub fn n_calls(&self, call: &str) -> usize {
        self.lock().calls.iter().filter(|made| *made == call).count()
    }

    pub async fn until_called(&self, call: &str, n: usize) {
        let n_calls = |objects: &Objects| objects.calls.iter().filter(|made| *made == call).count();
        self.until(|objects| (n_calls(objects) >= n).then_some(())).await;
    }

    pub fn tell(&self, pod: &str, status: Value) {
        self.change(|objects| {
            let mut object = objects.get(Kind::Pod, pod).unwrap();
            object["status"] = status;
            objects.put(Kind::Pod, "MODIFIED", object);
        });
    }

    pub fn run(&self, pod: &str) {
        self.tell(pod, json!({"phase": "Running", "containerStatuses": container(&json!({"running": {}}))}));
    }

    pub fn waits(&self, pod: &str, reason: &str, message: &str) {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        self.tell(pod, json!({"phase": "Pending", "containerStatuses": container(&state)}));
    }

    /// The container ends, and with it the Job.
    pub fn exit(&self, pod: &str, code: i32, reason: &str) {
        self.tell(pod, ended(code, reason));
        self.change(|objects| {
            let of = objects.get(Kind::Pod, pod).unwrap()["metadata"]["labels"]["tidegate.dev/job"].clone();
            let mut job = objects.get(Kind::Job, of.as_str().unwrap()).unwrap();
            let (r#type, reason) =
                if code == 0 { ("Complete", "Completed") } else { ("Failed", "BackoffLimitExceeded") };
            job["status"] = json!({"conditions": [{"type": r#type, "status": "True", "reason": reason}]});
            objects.put(Kind::Job, "MODIFIED", job);
        });
    }

    /// The pod is taken away, as `kubectl delete pod` does it.
    pub fn delete(&self, pod: &str) {
        self.change(|objects| objects.end_pod(pod, 0));
    }

    pub fn write(&self, pod: &str, line: &str) {
        self.change(|objects| {
            objects.n_lines += 1;
            let (seconds, nanos) = (objects.n_lines / 4, objects.n_lines % 4 * 100_000_000);
            let line = format!("2026-01-01T00:00:{seconds:02}.{nanos:09}Z {line}\n");
            objects.lines.entry(pod.to_owned()).or_default().push(line);
        });
    }

    /// Takes a label from all that is there, as if who has made it had not known of it.
    pub fn unlabel(&self, label: &str) {
        self.change(|objects| {
            for kind in [Kind::Job, Kind::Pod] {
                for mut object in objects.of(kind) {
                    object["metadata"]["labels"].as_object_mut().unwrap().remove(label);
                    objects.put(kind, "MODIFIED", object);
                }
            }
        });
    }

    /// All streams end.
    pub fn break_streams(&self) {
        self.change(|objects| objects.breaks += 1);
    }

    /// All streams of lines go silent, as those of a connection that nobody has closed.
    pub fn stall_lines(&self) {
        self.change(|objects| objects.stalls += 1);
    }

    /// Versions until now are forgotten: who goes on from one has to begin anew.
    pub fn expire(&self) {
        self.change(|objects| {
            objects.version += 1;
            objects.oldest = objects.version;
            objects.breaks += 1;
        });
    }

    /// It does not answer, until it is back.
    pub fn set_away(&self, is_away: bool) {
        self.change(|objects| {
            objects.is_away = is_away;
            objects.breaks += u64::from(is_away);
        });
    }

    pub fn hold_gets(&self) {
        self.lock().holds_gets = true;
    }

    pub fn set_stubborn(&self) {
        self.lock().is_stubborn = true;
    }

    /// The next creation is answered so; `is_made`: it is carried out nevertheless.
    pub fn answer_next(&self, is_made: bool, code: u16, message: &str) {
        self.lock().answers.push((is_made, code, message.to_owned()));
    }
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": message,
    });
    (StatusCode::from_u16(code).unwrap(), axum::Json(status)).into_response()
}

fn not_found(name: &str) -> Response {
    status(404, "NotFound", &format!("\"{name}\" not found"))
}

/// What the chart gives a worker (deploy/helm/tidegate/templates/worker-rights.yaml).
const RIGHTS: [(&str, &[&str]); 3] = [
    ("jobs", &["create", "delete", "get", "list", "patch", "watch"]),
    ("pods", &["delete", "list", "watch"]),
    ("pods/log", &["get"]),
];

/// The resource of a request and what is done to it, as rights name them.
fn right_of(request: &Request) -> (String, &'static str) {
    let parts: Vec<_> =
        request.uri().path().split('/').skip_while(|part| *part != "namespaces").skip(2).collect();
    let resource = match parts.as_slice() {
        [resource, _, below] => format!("{resource}/{below}"),
        [resource, ..] => (*resource).to_owned(),
        [] => String::new(),
    };
    let verb = match (request.method().as_str(), parts.len()) {
        ("GET", 1) if request.uri().query().is_some_and(|query| query.contains("watch=")) => "watch",
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        _ => "none",
    };
    (resource, verb)
}

async fn unless_away(State(cluster): State<Cluster>, request: Request, next: Next) -> Response {
    let (resource, verb) = right_of(&request);
    if !RIGHTS.iter().any(|(of, verbs)| *of == resource && verbs.contains(&verb)) {
        return status(403, "Forbidden", &format!("cannot {verb} resource \"{resource}\""));
    }
    let call = format!("{} {}", request.method(), resource);
    let is_away = cluster.change(|objects| {
        objects.calls.push(call);
        objects.is_away
    });
    if is_away {
        return status(503, "ServiceUnavailable", "the API server is starting");
    }
    next.run(request).await
}

async fn create_job(State(cluster): State<Cluster>, axum::Json(mut job): axum::Json<Value>) -> Response {
    let answer = cluster.lock().answers.pop();
    if let Some((false, code, message)) = &answer {
        return status(*code, "Refused", message);
    }
    let name = name_of(&job);
    if cluster.lock().get(Kind::Job, &name).is_some() {
        return status(409, "AlreadyExists", &format!("jobs.batch \"{name}\" already exists"));
    }
    let template = job["spec"]["template"].clone();
    if !template["spec"]["containers"][0]["image"].is_string() {
        return status(422, "Invalid", "spec.template.spec.containers[0].image: Required value");
    }
    cluster.change(|objects| {
        job["metadata"]["uid"] = json!(format!("uid-{}", objects.version));
        objects.put(Kind::Job, "ADDED", job.clone());
        let metadata = json!({"name": format!("{name}-abcde"), "labels": template["metadata"]["labels"]});
        let pod = json!({"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}});
        objects.put(Kind::Pod, "ADDED", pod);
    });
    match answer {
        Some((_, code, message)) => status(code, "InternalError", &message),
        None => axum::Json(job).into_response(),
    }
}

async fn get_job(State(cluster): State<Cluster>, Path((_, name)): Path<(String, String)>) -> Response {
    let is_held = cluster.change(|objects| {
        objects.calls.push("GET jobs/one".into());
        objects.holds_gets
    });
    if is_held {
        std::future::pending::<()>().await;
    }
    match cluster.lock().get(Kind::Job, &name) {
        Some(job) => axum::Json(job).into_response(),
        None => not_found(&name),
    }
}

async fn patch_job(
    State(cluster): State<Cluster>,
    Path((_, name)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let patch: Value = serde_json::from_slice(&body).unwrap();
    cluster.change(|objects| {
        let Some(mut job) = objects.get(Kind::Job, &name) else { return not_found(&name) };
        for part in ["labels", "annotations"] {
            for (key, value) in patch["metadata"][part].as_object().into_iter().flatten() {
                job["metadata"][part][key] = value.clone();
            }
        }
        let metadata = job["metadata"].clone();
        objects.put(Kind::Job, "MODIFIED", job);
        let partial =
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
        axum::Json(partial).into_response()
    })
}

async fn delete_job(State(cluster): State<Cluster>, Path((_, name)): Path<(String, String)>) -> Response {
    cluster.change(|objects| {
        let Some(job) = objects.get(Kind::Job, &name) else { return not_found(&name) };
        objects.put(Kind::Job, "DELETED", job.clone());
        for pod in objects.of(Kind::Pod) {
            if pod["metadata"]["labels"]["tidegate.dev/job"] == json!(name)
                && pod["metadata"]["deletionTimestamp"].is_null()
            {
                let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
                objects.end_pod(&name_of(&pod), grace);
            }
        }
        axum::Json(job).into_response()
    })
}

async fn delete_pod(
    State(cluster): State<Cluster>,
    Path((_, name)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let options: Value = serde_json::from_slice(&body).unwrap_or_default();
    cluster.change(|objects| {
        let Some(pod) = objects.get(Kind::Pod, &name) else { return not_found(&name) };
        objects.end_pod(&name, options["gracePeriodSeconds"].as_u64().unwrap_or(30));
        axum::Json(pod).into_response()
    })
}

async fn list_jobs(state: State<Cluster>, params: Params) -> Response {
    list(state.0, Kind::Job, &params)
}

async fn list_pods(state: State<Cluster>, params: Params) -> Response {
    list(state.0, Kind::Pod, &params)
}

fn list(cluster: Cluster, kind: Kind, params: &BTreeMap<String, String>) -> Response {
    let selector = params.get("labelSelector").cloned().unwrap_or_default();
    if params.contains_key("watch") {
        let from = params.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        return watched(cluster, kind, selector, from);
    }
    let objects = cluster.lock();
    let items: Vec<_> =
        objects.of(kind).into_iter().filter(|object| is_selected(object, &selector)).collect();
    let (kind, version) = (format!("{}List", kind.name()), objects.version.max(1).to_string());
    axum::Json(json!({"kind": kind, "metadata": {"resourceVersion": version}, "items": items}))
        .into_response()
}

fn is_selected(object: &Value, selector: &str) -> bool {
    let labels = &object["metadata"]["labels"];
    selector.split(',').filter(|term| !term.is_empty()).all(|term| match term.split_once('=') {
        Some((name, value)) => labels[name] == value,
        None => labels[term.trim_start_matches('!')].is_null(),
    })
}

/// The events behind a version, as they come; an expired version is told as such.
fn watched(cluster: Cluster, kind: Kind, selector: String, from: u64) -> Response {
    let (breaks, changed) = (cluster.lock().breaks, cluster.changed.subscribe());
    let state = (cluster, changed, from, false);
    let events = stream::unfold(state, move |(cluster, mut changed, from, has_ended)| {
        let selector = selector.clone();
        async move {
            if has_ended {
                return None;
            }
            loop {
                {
                    let objects = cluster.lock();
                    if from < objects.oldest {
                        let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old",
                            "status": "Failure", "metadata": {}});
                        let event = format!("{}\n", json!({"type": "ERROR", "object": gone}));
                        drop(objects);
                        return Some((Ok::<_, std::io::Error>(event), (cluster, changed, from, true)));
                    }
                    if objects.breaks != breaks {
                        return None;
                    }
                    let behind = objects.history.iter().filter(|(version, ..)| *version > from);
                    let events: String = behind
                        .filter(|(_, of, _, object)| *of == kind && is_selected(object, &selector))
                        .map(|(_, _, r#type, object)| {
                            format!("{}\n", json!({"type": r#type, "object": object}))
                        })
                        .collect();
                    let version = objects.version;
                    drop(objects);
                    if !events.is_empty() {
                        return Some((Ok(events), (cluster, changed, version, false)));
                    }
                }
                if changed.changed().await.is_err() {
                    return None;
                }
            }
        }
    });
    Body::from_stream(events).into_response()
}

/// The lines of a pod from a second on, and then as they come, until its container has ended.
async fn lines(
    State(cluster): State<Cluster>,
    Path((_, pod)): Path<(String, String)>,
    Query(params): Params,
) -> Response {
    assert_eq!(params.get("timestamps").map(String::as_str), Some("true"));
    assert_eq!(params.get("container").map(String::as_str), Some("job"));
    let since = params.get("sinceTime").map(|time| time.trim_end_matches('Z').to_owned()).unwrap_or_default();
    if cluster.lock().get(Kind::Pod, &pod).is_none() && !cluster.lock().lines.contains_key(&pod) {
        return not_found(&pod);
    }
    let breaks = cluster.lock().breaks;
    let stalls = cluster.lock().stalls;
    let changed = cluster.changed.subscribe();
    let lines = stream::unfold((cluster, changed, 0), move |(cluster, mut changed, n_sent)| {
        let (pod, since) = (pod.clone(), since.clone());
        async move {
            loop {
                let is_stalled = cluster.lock().stalls != stalls;
                if is_stalled {
                    std::future::pending::<()>().await;
                }
                {
                    let objects = cluster.lock();
                    let written = objects.lines.get(&pod).cloned().unwrap_or_default();
                    let wanted: Vec<_> = written.into_iter().filter(|line| line[..19] >= *since).collect();
                    let of_pod = objects.get(Kind::Pod, &pod);
                    let runs = of_pod.is_some_and(|pod| {
                        !pod["status"]["containerStatuses"][0]["state"]["running"].is_null()
                    });
                    let is_broken = objects.breaks != breaks;
                    drop(objects);
                    if wanted.len() > n_sent {
                        let sent = wanted[n_sent..].concat();
                        return Some((Ok::<_, std::io::Error>(sent), (cluster, changed, wanted.len())));
                    }
                    if !runs || is_broken {
                        return None;
                    }
                }
                if changed.changed().await.is_err() {
                    return None;
                }
            }
        }
    });
    Body::from_stream(lines).into_response()
}
