use std::{
    net::TcpListener,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tempfile::TempDir;
use tidegate_sdk::{Client, RunHandle, proto::StateType};

use crate::{Database, Process, Redis, eventually, program};

/// How long a part may take to come up.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Short, so that a dead worker is noticed soon; long enough for two busy processors.
const LEASE: Duration = Duration::from_secs(4);

/// All of Tidegate, ready to take runs.
pub struct Suite {
    address: String,
    /// In the order in which they are stopped.
    services: Vec<Service>,
    lease: Duration,
    /// For workers too.
    env: Vec<(String, String)>,
    redis: Option<Redis>,
    _database: Option<Database>,
    _data: Option<TempDir>,
}

struct Service {
    name: &'static str,
    address: String,
    process: Process,
    /// How it was started; `None`: by the test itself.
    command: Option<Command>,
}

struct Command {
    path: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Command {
    fn start(&self) -> Process {
        Process::start(&self.path, &self.args, self.env.clone())
    }
}

/// Waits until a process that was started serves.
async fn until_up(name: &str, process: &Process) {
    match name {
        "dev" => process.line("listening on ", START_DEADLINE).await,
        _ => process.log_line("serving on", START_DEADLINE).await,
    };
}

impl Suite {
    /// `tidegate dev` on a data folder of its own.
    pub async fn embedded() -> Self {
        let data = tempfile::tempdir().unwrap();
        let (port, folder) = (free_port(), data.path().to_str().unwrap());
        let args = ["dev", "--port", &port.to_string(), "--data", folder].map(str::to_owned).to_vec();
        let command = Command { path: program("tidegate"), args, env: Vec::new() };
        let mut suite = Self::of_process(command.start()).await;
        suite.services[0].command = Some(command);
        suite._data = Some(data);
        suite
    }

    /// Whatever a `tidegate dev` that was started says it is.
    pub async fn of_process(process: Process) -> Self {
        let line = process.line("listening on ", START_DEADLINE).await;
        let address = line.strip_prefix("listening on ").expect("the line begins so").to_owned();
        let services = vec![Service { name: "dev", address: address.clone(), process, command: None }];
        Self { address, services, lease: LEASE, env: Vec::new(), redis: None, _database: None, _data: None }
    }

    /// As [`Suite::of_process`], once the demo that the process runs has ended.
    pub async fn of_demo(process: Process, deadline: Duration) -> Self {
        process.line("look around:", deadline).await;
        Self::of_process(process).await
    }

    /// The four services as processes of their own, on a database and a Redis of their own.
    pub async fn separate() -> Self {
        Self::separate_with([]).await
    }

    /// As [`Suite::separate`], with further variables for the services and the workers.
    pub async fn separate_with(env: impl IntoIterator<Item = (String, String)>) -> Self {
        let database = Database::create().await;
        let suite = Self::start(database.url(), env.into_iter().collect(), false, LEASE).await;
        Self { _database: Some(database), ..suite }
    }

    /// As [`Suite::separate`], with leases as long as this.
    pub async fn separate_with_lease(lease: Duration) -> Self {
        let database = Database::create().await;
        let suite = Self::start(database.url(), Vec::new(), false, lease).await;
        Self { _database: Some(database), ..suite }
    }

    /// As [`Suite::separate`], by `tidegate server NAME`.
    pub async fn separate_by_command() -> Self {
        let database = Database::create().await;
        let suite = Self::start(database.url(), Vec::new(), true, LEASE).await;
        Self { _database: Some(database), ..suite }
    }

    /// As [`Suite::separate`], on a database of the caller's: `postgres://…`.
    pub async fn separate_on(database_url: &str) -> Self {
        Self::start(database_url, Vec::new(), false, LEASE).await
    }

    async fn start(
        database_url: &str,
        env: Vec<(String, String)>,
        by_command: bool,
        lease: Duration,
    ) -> Self {
        let redis = Redis::start().await;
        let payloads = tempfile::tempdir().unwrap();
        let payloads_url = format!("file://{}", payloads.path().display());
        let mut services = Vec::new();
        let address = || format!("127.0.0.1:{}", free_port());
        let [api, task_queue, scheduler, log_ingest] = [address(), address(), address(), address()];
        let url = |address: &str| format!("http://{address}");
        let set = |name: &str, value: &str| (format!("TIDEGATE__{name}"), value.to_owned());
        let plan = [
            (
                "api",
                &api,
                vec![
                    set("POSTGRES__URL", database_url),
                    set("OBJECT_STORAGE__URL", &payloads_url),
                    set("DELIVERY_ADDRESS", &url(&task_queue)),
                    set("SCHEDULER_ADDRESS", &url(&scheduler)),
                    set("ENDPOINTS__TASK_QUEUE", &url(&task_queue)),
                    set("ENDPOINTS__LOG_INGEST", &url(&log_ingest)),
                ],
            ),
            (
                "task-queue",
                &task_queue,
                vec![
                    set("REDIS__URL", &redis.url()),
                    set("ENGINE_ADDRESS", &url(&api)),
                    set("LEASE__DURATION", &format!("{}ms", lease.as_millis())),
                    set("LEASE__HEARTBEAT_INTERVAL", "1s"),
                ],
            ),
            (
                "scheduler",
                &scheduler,
                vec![
                    set("POSTGRES__URL", database_url),
                    set("OBJECT_STORAGE__URL", &payloads_url),
                    set("DELIVERY_ADDRESS", &url(&task_queue)),
                    // Those of tests go to this machine.
                    set("WEBHOOKS__PRIVATE_ADDRESSES", "true"),
                    set("WEBHOOKS__ALLOW_HTTP", "true"),
                ],
            ),
            ("log-ingest", &log_ingest, vec![set("POSTGRES__URL", database_url)]),
        ];
        for (name, address, mut variables) in plan {
            variables.push(set("LISTEN", address));
            variables.extend(env.iter().cloned());
            let (path, args) = if by_command {
                (program("tidegate"), ["server", name].map(str::to_owned).to_vec())
            } else {
                (program(&format!("tidegate-{name}")), Vec::new())
            };
            let command = Command { path, args, env: variables };
            let process = command.start();
            services.push(Service { name, address: url(address), process, command: Some(command) });
        }
        for service in &services {
            until_up(service.name, &service.process).await;
        }
        let (redis, data) = (Some(redis), Some(payloads));
        Self { address: url(&api), services, lease, env, redis, _database: None, _data: data }
    }

    /// The one address that clients know.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where workers connect.
    pub fn worker_address(&self) -> String {
        let of_its_own = self.services.iter().find(|service| service.name == "task-queue");
        of_its_own.map_or(&self.address, |service| &service.address).clone()
    }

    /// Where the service `name` listens.
    pub fn address_of(&self, name: &str) -> String {
        let service = self.services.iter().find(|service| service.name == name);
        service.unwrap_or_else(|| panic!("no service {name}")).address.clone()
    }

    /// Ends a service by SIGKILL, and starts it again at the same address. That of the embedded form is `dev`.
    pub async fn kill_and_restart(&mut self, name: &str) {
        self.kill_and_restart_nth(name, 0).await;
    }

    /// The same for one of several replicas: they are counted from 0 in the order of their first starts.
    pub async fn kill_and_restart_nth(&mut self, name: &str, idx: usize) {
        self.nth(name, idx).process.kill().await;
        self.restart_nth(name, idx).await;
    }

    /// Ends a service by SIGKILL.
    pub async fn kill(&mut self, name: &str) {
        self.nth(name, 0).process.kill().await;
    }

    /// Starts a service that was killed.
    pub async fn restart(&mut self, name: &str) {
        self.restart_nth(name, 0).await;
    }

    /// Starts another replica of a service of the separate form, at an address of its own.
    pub async fn add_replica(&mut self, name: &'static str) {
        let first = self.nth(name, 0).command.as_ref().expect("the suite started it");
        let address = format!("127.0.0.1:{}", free_port());
        let (path, args, mut env) = (first.path.clone(), first.args.clone(), first.env.clone());
        env.retain(|(variable, _)| variable != "TIDEGATE__LISTEN");
        env.push(("TIDEGATE__LISTEN".to_owned(), address.clone()));
        let command = Command { path, args, env };
        let process = command.start();
        until_up(name, &process).await;
        let address = format!("http://{address}");
        self.services.push(Service { name, address, process, command: Some(command) });
    }

    async fn restart_nth(&mut self, name: &str, idx: usize) {
        let service = self.nth(name, idx);
        service.process = service.command.as_ref().expect("the suite started it").start();
        until_up(name, &service.process).await;
    }

    fn nth(&mut self, name: &str, idx: usize) -> &mut Service {
        let mut services = self.services.iter_mut().filter(|service| service.name == name);
        services.nth(idx).unwrap_or_else(|| panic!("no service {name} {idx}"))
    }

    /// Ends every service by SIGKILL, wipes Redis, and starts them again at the same addresses: only the store is left
    /// of what was.
    pub async fn kill_everything_and_restart(&mut self) {
        for service in &mut self.services {
            service.process.kill().await;
        }
        if let Some(redis) = &self.redis {
            redis.flush_all().await;
        }
        for service in &mut self.services {
            service.process = service.command.as_ref().expect("the suite started it").start();
        }
        for service in &self.services {
            until_up(service.name, &service.process).await;
        }
    }

    /// The Redis of the separate form.
    pub fn redis(&self) -> Option<&Redis> {
        self.redis.as_ref()
    }

    /// The same, to kill it.
    pub fn redis_mut(&mut self) -> Option<&mut Redis> {
        self.redis.as_mut()
    }

    /// How long a worker of the separate form may be silent.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// A client with connections of its own.
    pub fn client(&self) -> Client {
        Client::connect(&self.address, "default").unwrap()
    }

    /// A worker process that serves `queue` (see `src/bin/tidegate-test-worker.rs`).
    pub fn worker(&self, queue: &str) -> Process {
        self.worker_with_slots(queue, 16)
    }

    /// As [`Suite::worker`], for so many tasks at a time.
    pub fn worker_with_slots(&self, queue: &str, task_slots: u32) -> Process {
        self.worker_with_labels(queue, task_slots, &[])
    }

    /// As [`Suite::worker_with_slots`], with labels: `key=value`.
    pub fn worker_with_labels(&self, queue: &str, task_slots: u32, labels: &[&str]) -> Process {
        let address = ("TIDEGATE_ADDRESS".to_owned(), self.address.clone());
        let env = self.env.iter().cloned().chain([address]);
        let task_slots = task_slots.to_string();
        let args = ["serve", queue, &task_slots].into_iter().chain(labels.iter().copied());
        Process::start(&program("tidegate-test-worker"), args, env)
    }

    /// Waits until the run is in that state.
    pub async fn until_state(&self, run: &RunHandle, state: StateType) {
        eventually(&format!("the run is {}", state.as_str_name()), START_DEADLINE, async || {
            (run.state().await.unwrap().r#type() == state).then_some(())
        })
        .await;
    }

    /// Ends everything in order: each with exit code 0, and without an ERROR in its log.
    pub async fn stop(self) {
        for Service { name, process, .. } in self.services {
            let ended = process.stop().await;
            let errors: Vec<_> = ended.stderr.lines().filter(|line| line.contains("ERROR")).collect();
            assert!(errors.is_empty(), "{name} logged errors: {errors:#?}");
        }
    }
}

/// A port that was free a moment ago, and that no other call in this process gets. Below the ports that the system
/// gives to outgoing connections: one of those could take it before the service that it is meant for does.
pub fn free_port() -> u16 {
    const RANGE: std::ops::Range<u16> = 20_000..32_000;
    static N_CALLS: AtomicU32 = AtomicU32::new(0);
    loop {
        // Test programs that run side by side begin at different places.
        let n = std::process::id().wrapping_mul(97).wrapping_add(N_CALLS.fetch_add(1, Ordering::Relaxed));
        let port = RANGE.start + u16::try_from(n % RANGE.len() as u32).expect("less than the range has");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
