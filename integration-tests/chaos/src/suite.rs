//! All parts on one machine: where they are, how they are started, and how a fault reaches them.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context as _;
use tidegate_integration_tests::free_port;
use tidegate_sdk::{Client, core::Options};

use crate::{
    evidence::Happened,
    keeper::{Incidents, Kept, Program},
    proxy::Proxy,
    script::{Fault, Link, Part, Step},
    settings::RunSettings,
    time,
};

/// The one queue.
pub(crate) const QUEUE: &str = "chaos";
/// How long a silent worker keeps its runs: short, so that a run of a minute has many lost leases.
pub(crate) const LEASE: Duration = Duration::from_secs(6);
/// How often a worker renews its leases.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(1_500);

/// Everything that the script may break.
pub(crate) struct Suite {
    parts: BTreeMap<Part, Kept>,
    links: BTreeMap<Link, Proxy>,
    recorder: Kept,
    addresses: BTreeMap<Part, SocketAddr>,
    redis: SocketAddr,
    folder: PathBuf,
    incidents: Incidents,
}

impl Suite {
    /// Starts all of it in `folder`.
    pub async fn start(settings: &RunSettings, folder: &Path) -> anyhow::Result<Self> {
        let local = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (postgres, redis) = (local(), local());
        let services = Part::services(settings.n_replicas());
        let addresses: BTreeMap<Part, SocketAddr> = services.iter().map(|part| (*part, local())).collect();
        let all_of = |kind: &str| -> Vec<SocketAddr> {
            addresses.iter().filter(|(part, _)| part.kind() == kind).map(|(_, address)| *address).collect()
        };
        let mut links = BTreeMap::new();
        for link in Link::ALL {
            let targets = match link {
                Link::ApiToPostgres | Link::SchedulerToPostgres | Link::LogIngestToPostgres => vec![postgres],
                Link::TaskQueueToRedis => vec![redis],
                Link::ApiToTaskQueue | Link::SchedulerToTaskQueue | Link::WorkersToTaskQueue => {
                    all_of("task-queue")
                }
                Link::TaskQueueToApi | Link::WorkersToApi | Link::CallersToApi => all_of("api"),
                Link::WorkersToLogIngest => all_of("log-ingest"),
            };
            links.insert(link, Proxy::start(targets).await?);
        }
        let incidents = Incidents::default();
        let recorder = Kept::start(recorder(folder)?, Incidents::clone(&incidents));
        recorder.ready().await.context("start the recorder")?;
        let mut suite = Self {
            parts: BTreeMap::new(),
            links,
            recorder,
            addresses,
            redis,
            folder: folder.to_owned(),
            incidents,
        };
        suite.keep(Part::Postgres, postgres_program(settings, folder, postgres)?);
        suite.keep(Part::Redis, redis_program(folder, redis)?);
        suite.ready(&[Part::Postgres, Part::Redis]).await?;
        for part in &services {
            suite.keep(*part, service(*part, folder, suite.variables(*part))?);
        }
        suite.ready(&services).await?;
        for number in 0..settings.n_workers() {
            let program = worker(number, folder, suite.url(Link::WorkersToApi))?;
            suite.keep(Part::Worker(number), program);
        }
        Ok(suite)
    }

    fn keep(&mut self, part: Part, program: Program) {
        self.parts.insert(part, Kept::start(program, Incidents::clone(&self.incidents)));
    }

    async fn ready(&self, parts: &[Part]) -> anyhow::Result<()> {
        for part in parts {
            self.part(*part)?.ready().await.with_context(|| format!("start {}", part.name()))?;
        }
        Ok(())
    }

    /// Where the link begins.
    fn url(&self, link: Link) -> String {
        format!("http://{}", self.links[&link].address())
    }

    fn variables(&self, part: Part) -> Vec<(String, String)> {
        let set = |name: &str, value: String| (format!("TIDEGATE__{name}"), value);
        let postgres = |link: Link| {
            let url = format!("postgres://tidegate@{}/postgres", self.links[&link].address());
            set("POSTGRES__URL", url)
        };
        let payloads =
            || set("OBJECT_STORAGE__URL", format!("file://{}", self.folder.join("payloads").display()));
        let mut variables = match part {
            Part::Api(_) => vec![
                postgres(Link::ApiToPostgres),
                payloads(),
                set("DELIVERY_ADDRESS", self.url(Link::ApiToTaskQueue)),
                set("ENDPOINTS__TASK_QUEUE", self.url(Link::WorkersToTaskQueue)),
                set("ENDPOINTS__LOG_INGEST", self.url(Link::WorkersToLogIngest)),
            ],
            // Each bound that would make a minute of faults a minute of waiting is shorter than its default, in the
            // proportions of the defaults.
            Part::TaskQueue(_) => vec![
                set("REDIS__URL", format!("redis://{}", self.links[&Link::TaskQueueToRedis].address())),
                set("ENGINE_ADDRESS", self.url(Link::TaskQueueToApi)),
                set("ENGINE_TIMEOUT", "4s".into()),
                set("LEASE__DURATION", format!("{}ms", LEASE.as_millis())),
                set("LEASE__HEARTBEAT_INTERVAL", format!("{}ms", HEARTBEAT_INTERVAL.as_millis())),
                set("LEASE__CLAIM", "8s".into()),
                set("ASSIGN__PATIENCE", "2s".into()),
            ],
            Part::Scheduler(_) => vec![
                postgres(Link::SchedulerToPostgres),
                payloads(),
                set("DELIVERY_ADDRESS", self.url(Link::SchedulerToTaskQueue)),
                set("SWEEPS__RECONCILE_AFTER", "24s".into()),
                set("SWEEPS__LEASES_INTERVAL", "4s".into()),
                set("SWEEPS__LEASES_AFTER", "18s".into()),
            ],
            Part::LogIngest => vec![postgres(Link::LogIngestToPostgres)],
            Part::Worker(_) | Part::Redis | Part::Postgres => Vec::new(),
        };
        variables.extend(self.addresses.get(&part).map(|address| set("LISTEN", address.to_string())));
        variables
    }

    fn part(&self, part: Part) -> anyhow::Result<&Kept> {
        self.parts.get(&part).with_context(|| format!("there is no part {}", part.name()))
    }

    /// Does what the step says, and tells what happened once the part serves again.
    pub async fn carry_out(&self, step: Step) -> anyhow::Result<Happened> {
        let from = time::now();
        let pid = match step.fault {
            Fault::Kill(part) => self.part(part)?.kill(step.lasts).await?,
            Fault::Restart(part) => self.part(part)?.restart().await?,
            Fault::Freeze(part) => self.part(part)?.freeze(step.lasts).await?,
            Fault::WipeRedis => self.wipe_redis().await.map(|()| None)?,
            Fault::Cut(link) => {
                self.links[&link].cut(step.lasts).await;
                None
            }
            Fault::Stall(link) => {
                self.links[&link].stall(step.lasts).await;
                None
            }
        };
        Ok(Happened { fault: step.fault, from, until: time::now(), pid })
    }

    /// A Redis that is away at this moment has been killed by an overlapping fault: it is wiped when it is back.
    async fn wipe_redis(&self) -> anyhow::Result<()> {
        loop {
            let wiped = async {
                let mut connection = self.redis().await?;
                redis::cmd("FLUSHALL").exec_async(&mut connection).await
            };
            match wiped.await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_io_error() || error.is_connection_dropped() => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A connection past the proxy.
    pub async fn redis(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        redis::Client::open(format!("redis://{}", self.redis))?.get_multiplexed_async_connection().await
    }

    /// A client that outlasts every fault.
    pub fn client(&self) -> anyhow::Result<Client> {
        let options = Options::new(&self.url(Link::CallersToApi), "default")?;
        Ok(Client::with_options(Options { call_deadline: Duration::from_secs(120), ..options })?)
    }

    pub fn incidents(&self) -> Incidents {
        Incidents::clone(&self.incidents)
    }

    /// The log of each process of Tidegate.
    pub fn logs(&self) -> Vec<(Part, PathBuf)> {
        let ours = self.parts.keys().filter(|part| !matches!(part, Part::Redis | Part::Postgres));
        ours.map(|part| (*part, log_of(&self.folder, &part.name()))).collect()
    }

    /// Ends all of it in order: workers first, then services, then the recorder. Gives the recorder's file.
    pub async fn end(&self) -> anyhow::Result<PathBuf> {
        let is_worker = |part: &&Part| matches!(part, Part::Worker(_));
        let workers = self.parts.keys().filter(is_worker).map(|part| self.end_part(*part));
        futures::future::try_join_all(workers).await?;
        for part in self.addresses.keys() {
            self.end_part(*part).await?;
        }
        self.recorder.end().await?;
        for part in [Part::Redis, Part::Postgres] {
            self.end_part(part).await?;
        }
        Ok(records_of(&self.folder))
    }

    async fn end_part(&self, part: Part) -> anyhow::Result<()> {
        self.part(part)?.end().await
    }
}

fn log_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

fn socket_of(folder: &Path) -> PathBuf {
    folder.join("recorder.socket")
}

fn records_of(folder: &Path) -> PathBuf {
    folder.join("records")
}

fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("find this program")
}

/// A program that was built beside this one.
fn neighbour(name: &str) -> anyhow::Result<PathBuf> {
    let path = own_program()?.with_file_name(name);
    anyhow::ensure!(path.exists(), "{} is missing: cargo build --workspace --bins", path.display());
    Ok(path)
}

fn service(part: Part, folder: &Path, env: Vec<(String, String)>) -> anyhow::Result<Program> {
    Ok(Program {
        path: neighbour(&format!("tidegate-{}", part.kind()))?,
        args: Vec::new(),
        env,
        log: log_of(folder, &part.name()),
        name: part.name(),
        ready: Some("serving on"),
        stop_signal: "TERM",
    })
}

fn worker(number: usize, folder: &Path, address: String) -> anyhow::Result<Program> {
    let name = Part::Worker(number).name();
    let socket = socket_of(folder).into_os_string();
    Ok(Program {
        path: own_program()?,
        args: ["worker", "--queue", QUEUE, "--socket"]
            .map(OsString::from)
            .into_iter()
            .chain([socket])
            .chain(number.is_multiple_of(2).then(|| "--labelled".into()))
            .collect(),
        env: vec![("TIDEGATE_ADDRESS".into(), address)],
        log: log_of(folder, &name),
        name,
        ready: None,
        stop_signal: "TERM",
    })
}

fn recorder(folder: &Path) -> anyhow::Result<Program> {
    let (socket, file) = (socket_of(folder).into_os_string(), records_of(folder).into_os_string());
    Ok(Program {
        name: "recorder".into(),
        path: own_program()?,
        args: vec!["recorder".into(), "--socket".into(), socket, "--file".into(), file],
        env: Vec::new(),
        log: log_of(folder, "recorder"),
        ready: Some("recording"),
        stop_signal: "TERM",
    })
}

/// With an append-only file, so that a kill or restart keeps its state, as an operator would have it; what loses the
/// state is the wipe.
fn redis_program(folder: &Path, address: SocketAddr) -> anyhow::Result<Program> {
    let data = folder.join("redis");
    std::fs::create_dir(&data)?;
    let args = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "no", "--port"];
    let args = args.map(OsString::from).into_iter();
    let data: [OsString; 2] = ["--dir".into(), data.into()];
    Ok(Program {
        name: "redis".into(),
        path: "redis-server".into(),
        args: args.chain([address.port().to_string().into()]).chain(data).collect(),
        env: Vec::new(),
        log: log_of(folder, "redis"),
        ready: Some("Ready to accept connections"),
        stop_signal: "TERM",
    })
}

/// A database that survives the death of its processes. It need not survive a power cut.
fn postgres_program(settings: &RunSettings, folder: &Path, address: SocketAddr) -> anyhow::Result<Program> {
    let bin = match &settings.postgres_bin {
        Some(bin) => bin.clone(),
        None => newest_postgres()?,
    };
    let home = folder.join("postgres");
    std::fs::create_dir(&home)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))?;
    let mut prefix = Vec::new();
    if std::fs::metadata("/proc/self")?.uid() == 0 {
        // Postgres refuses to run as root.
        let (user, group) = (id_of("-u")?, id_of("-g")?);
        chown(&home, Some(user), Some(group))?;
        let options = [format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()];
        prefix.push("setpriv".to_owned());
        prefix.extend(options);
    }
    let data = home.join("data").display().to_string();
    let home = home.display().to_string();
    let command = |program: &str, args: &[&str]| {
        let program = bin.join(program).display().to_string();
        let args = args.iter().map(ToString::to_string);
        prefix.iter().cloned().chain([program]).chain(args).collect::<Vec<_>>()
    };
    let init = ["-D", &data, "-U", "tidegate", "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync"];
    let init = command("initdb", &init);
    let output = Command::new(&init[0]).args(&init[1..]).output().context("run initdb")?;
    anyhow::ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    let (port, sockets) = (address.port().to_string(), format!("unix_socket_directories={home}"));
    let serve = command(
        "postgres",
        &[
            &["-D", &data, "-p", &port, "-c", "listen_addresses=127.0.0.1", "-c", &sockets][..],
            &["-c", "max_connections=200", "-c", "fsync=off", "-c", "full_page_writes=off"][..],
            // What was answered must be in the kernel: a killed process must lose nothing.
            &["-c", "synchronous_commit=on", "-c", "max_wal_size=2GB"][..],
        ]
        .concat(),
    );
    Ok(Program {
        name: "postgres".into(),
        path: PathBuf::from(&serve[0]),
        args: serve[1..].iter().map(OsString::from).collect(),
        env: Vec::new(),
        log: log_of(folder, "postgres"),
        ready: Some("ready to accept connections"),
        stop_signal: "INT", // TERM would wait until every client has left
    })
}

fn newest_postgres() -> anyhow::Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/usr/lib/postgresql").context("look for Postgres; set --postgres-bin")? {
        let entry = entry?;
        let version = entry.file_name().to_string_lossy().parse::<u32>();
        let bin = entry.path().join("bin");
        if let Ok(version) = version
            && bin.join("postgres").exists()
        {
            found.push((version, bin));
        }
    }
    found.sort();
    found.pop().map(|(_, bin)| bin).context("there is no Postgres in /usr/lib/postgresql: set --postgres-bin")
}

/// The number of the user `postgres`, or of its group, or of `nobody` where there is none.
fn id_of(option: &str) -> anyhow::Result<u32> {
    for user in ["postgres", "nobody"] {
        let output = Command::new("id").args([option, user]).output().context("run id")?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?);
        }
    }
    anyhow::bail!("there is neither a user postgres nor nobody")
}
